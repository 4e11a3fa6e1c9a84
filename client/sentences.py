"""A paragraph, split into the sentences that a narrator would record one by one. Knows no file and no server.

Every run of stop marks is a candidate. Rules, most of them "this goes on", decide about it; whether a full stop ends an
abbreviation is sentencex's judgement where a language's own tables say nothing. When in doubt two sentences stay
together: a line that is cut in its middle is recorded with the wrong cadence, two sentences in one file do no harm.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import sentencex

from server.contract import LANGUAGES, language_code


def _words(text: str) -> frozenset[str]:
    """A table of words, written as one reads them."""
    return frozenset(text.split())


_MARK = r"[.?!…。．？！｡‼⁇⁈⁉‽]"
_RUN = re.compile(rf"{_MARK}+(?:[ \u00a0\u202f]+[?!]+(?=\s|$))*")
_TAIL = re.compile(r"[~～〜♪♫♡♥★☆]+|[ㅋㅎㅠㅜ]+|\^\^+|\[\d{1,3}\]")
"""What may hang on a stop mark: a wave, a laugh, a footnote number."""
_EMOJI = r"[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\u200d\ufe0f]"
# Pictures that point at what follows open a sentence; all others close the one before.
_POINTER = r"[👉👇➡▶►➤➜✅☑✔📌📍🔔💡🔹🔸❌⭐]"
_EMOJI_TAIL = re.compile(rf"(?!{_POINTER}){_EMOJI}|\s+(?!{_POINTER}){_EMOJI}(?:\s*(?!{_POINTER}){_EMOJI})*(?=\s|$)")

_PAIRS = {
    "“": "”",
    "‘": "’",
    "„": "“”",
    "‚": "‘’",
    "«": "»",
    "»": "«»",
    "‹": "›",
    "「": "」",
    "『": "』",
    "《": "》",
    "〈": "〉",
    "【": "】",
    "（": "）",
    "(": ")",
    "[": "]",
    '"': '"',
    "'": "'",
}
_QUOTES = frozenset("\"'“”‘’„‚«»‹›「」『』")
_TITLE_CLOSERS = frozenset("》〉")
_OPENERS = re.compile(r"[\"'“‘„‚«»‹「『《〈【（(\[¿¡—–\-―•·\s*_]*")
_AHEAD = 200
"""Characters that the rules look ahead; without an end a whole book in one line takes minutes."""


@dataclass(frozen=True)
class _Stop:
    """A run of stop marks with everything that closes behind it."""

    begin: int
    """Where the marks begin."""
    end: int
    """Behind closing quotes, waves, emoji."""
    marks: str
    closed: str
    """The closing quotes and brackets passed, in order."""
    opened_at: int
    """Where the outermost bracket that closes here opened; -1 for none."""
    marks_behind: bool
    """Stop marks follow the closing quote too, as in `"Really?".`"""


@dataclass(frozen=True)
class _Place:
    """One candidate and all that the rules look at."""

    code: str
    line: str
    start: int
    """Where the sentence under way begins."""
    stop: _Stop
    advised: bool
    """sentencex would end a sentence here."""

    @property
    def said(self) -> str:
        """The sentence under way up to the stop marks."""
        return self.line[self.start : self.stop.begin].strip()

    @property
    def gap(self) -> bool:
        return self.line[self.stop.end : self.stop.end + 1].isspace()

    @property
    def rest(self) -> str:
        """What follows, as far as any rule looks."""
        return self.line[self.stop.end : self.stop.end + _AHEAD].lstrip()

    @property
    def opening(self) -> str:
        """Quotes, dashes and inverted marks before the next word."""
        return _OPENERS.match(self.rest)[0]  # type: ignore[index]  # it matches the empty string too

    @property
    def word(self) -> str:
        """The next word, without what opens before it; of `I'll` the `I`."""
        found = re.match(r"\w+", self.rest[len(self.opening) :])
        return found[0] if found else ""


def split_sentences(text: str, language: str) -> list[str]:
    """The sentences of a paragraph, none of them blank; every character but white space is kept, in order.

    language: code or name of one of the ten; ValueError otherwise. A line break always ends a sentence.
    """
    code = language_code(language)
    return [sentence for line in text.splitlines() for sentence in _split_line(line, code)]


def _split_line(line: str, code: str) -> list[str]:
    pairs = _pairs(line, code)
    advice = _advice(line, code)
    pieces: list[str] = []
    start = 0
    for stop in _stops(line, pairs):
        if _ends_sentence(_Place(code, line, start, stop, stop.begin + len(stop.marks) in advice)):
            pieces.append(line[start : stop.end])
            start = stop.end
    pieces.append(line[start:])
    return _joined_to_something_spoken(pieces)


def _joined_to_something_spoken(pieces: list[str]) -> list[str]:
    """Pieces without a letter or digit go to the one before them, or at the very start to the one behind."""
    joined: list[str] = []
    for piece in pieces:
        if joined and not (_speakable(piece) and _speakable(joined[-1])):
            joined[-1] += piece
        else:
            joined.append(piece)
    return [piece.strip() for piece in joined if piece.strip()]


def _speakable(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _pairs(line: str, code: str) -> dict[int, int]:
    """Closing position to opening position of every quotation and bracket that is closed within the line."""
    open_at: list[int] = []
    pairs: dict[int, int] = {}
    for at, character in enumerate(line):
        before, after = line[at - 1 : at] if at else "", line[at + 1 : at + 2]
        if character in "'’" and _roman(before) and (_roman(after) or after.isdigit()):
            continue  # an apostrophe: don't, l'heure
        match = next((i for i in reversed(open_at) if character in _PAIRS[line[i]]), None)
        if match is not None and not (character == "»" and line[match] == "»"):
            del open_at[open_at.index(match) :]
            pairs[at] = match
        elif character in _PAIRS and _may_open(character, before, after, code):
            open_at.append(at)
    return pairs


def _may_open(character: str, before: str, after: str, code: str) -> bool:
    if character not in "\"'»":
        return True
    # 27" is inches and the dogs' a genitive; '90s is a decade, where Korean quotes numbers with the same sign.
    free = not before or before.isspace() or (not (before.isalnum() and before.isascii()) and character == '"')
    free = free or unicodedata.category(before) in ("Ps", "Pi", "Pd")
    return free and bool(after) and not (character == "'" and after.isdigit() and code != "ko")


def _roman(character: str) -> bool:
    """A letter of an alphabet with capitals."""
    return character.lower() != character.upper()


def _advice(line: str, code: str) -> set[int]:
    """Where sentencex would end a sentence: positions right behind the stop marks."""
    # Without quotes: an unpaired one keeps sentencex from splitting at all, and quotations are judged here.
    bare = "".join(" " if character in _QUOTES and character not in "'’" else character for character in line)
    segments = list(sentencex.segment(code, bare))
    if "".join(segments) != bare:
        return set()
    ends: set[int] = set()
    at = 0
    for segment in segments:
        at += len(segment)
        ends.add(at - len(segment) + len(segment.rstrip()))
    return ends


def _stops(line: str, pairs: dict[int, int]) -> Iterator[_Stop]:
    at = 0
    closes = _quotation_ends(line, pairs)
    while found := _RUN.search(line, at):
        stop = _stop(line, found, pairs)
        at = stop.end
        if closes[stop.begin] < stop.end:
            yield stop


def _stop(line: str, found: re.Match[str], pairs: dict[int, int]) -> _Stop:
    """Takes along what closes behind the marks, and marks behind that."""
    end, closed, opened_at, behind, marks = found.end(), "", -1, False, found[0]
    while end < len(line):
        spaces = len(line[end : end + 9]) - len(line[end : end + 9].lstrip())
        if end + spaces in pairs and (not spaces or line[end + spaces] in '»"'):
            end += spaces
            closed += line[end]
            opened_at = pairs[end]
            end += 1
        elif line[end] in "”’」』）)" and end not in pairs:  # closes what another line opened
            closed += line[end]
            end += 1
        elif tail := _TAIL.match(line, end):
            end = tail.end()
        elif closed and (more := _RUN.match(line, end)):
            end, behind = more.end(), True
        elif emoji := _EMOJI_TAIL.match(line, end):
            end = emoji.end()
        else:
            break
    return _Stop(found.start(), end, marks, closed, opened_at, behind)


def _quotation_ends(line: str, pairs: dict[int, int]) -> list[int]:
    """For each character where the outermost quotation around it closes; -1 outside, and inside an overlong one."""
    ends = [-1] * (len(line) + 1)
    for close, opened in pairs.items():
        if close - opened <= _longest_quotation(line[opened:close]):
            for at in range(opened + 1, close):
                ends[at] = max(ends[at], close)
    return ends


def _longest_quotation(quoted: str) -> int:
    """Characters; a longer one is split inside, since one take of half a minute drifts."""
    return 90 if 3 * sum(map(_wide, quoted)) > len(quoted) else 220


def _wide(character: str) -> bool:
    return _hangul(character) or _kana(character) or _han(character)


def _hangul(character: str) -> bool:
    return "가" <= character <= "힣" or "ᄀ" <= character <= "ᇿ" or "ㄱ" <= character <= "ㆎ"


def _kana(character: str) -> bool:
    return "ぁ" <= character <= "ゖ" or "ァ" <= character <= "ヺ" or character == "ー" or "ｦ" <= character <= "ﾝ"


def _han(character: str) -> bool:
    return "㐀" <= character <= "鿿" or "\U00020000" <= character <= "\U0003ffff" or character == "々"


def _ends_sentence(place: _Place) -> bool:
    """The rules in their order: the first that knows an answer gives it."""
    stop, rest = place.stop, place.rest
    if not rest or not _speakable(place.line[place.start : stop.end]) or rest[0] in ",;:、，；：)]）/・·％%":
        return False
    if stop.closed and not stop.marks_behind:
        if stop.opened_at >= 0 and not _speakable(place.line[stop.opened_at : stop.begin]):
            return False  # (?) and (!) are remarks within a sentence
        return _ends_after_quote(place) if _QUOTES & set(stop.closed) else _ends_after_bracket(place)
    if not place.gap and stop.marks.isascii() and not _wide_follows(place):
        return False  # 2.0, www.example.com, a?b=1
    if place.word.casefold() in _GOES_ON_QUOTING.get(place.code, ()):
        return False
    if re.fullmatch(r"…+\.*|\.{2,}…*", stop.marks):
        return _ends_at_ellipsis(place)
    if _goes_on_in_small_letters(place) or _continues_in_japanese(place, quoted=False):
        return False
    if stop.marks in (".", "．"):
        return _ends_at_full_stop(place)
    if re.split(r"\W", place.said)[-1].casefold() in _NAMES_WITH_A_MARK:
        return place.word.casefold() in _STARTERS[place.code]
    return not _is_attribution(place)


def _wide_follows(place: _Place) -> bool:
    """No space behind an ASCII mark, but a script that can do without: `네.맞아요.` but not `Node.js` or `2.首先`."""
    token = re.split(r"\s", place.line[max(0, place.stop.end - _AHEAD) : place.stop.end])[-1]
    if "://" in token or "@" in token or token.startswith("www."):
        return False
    before, after = place.said[-1:], place.rest[0]
    if place.stop.marks.startswith("."):
        if place.stop.marks == "." and _hangul(before):
            return _hangul(after) and _is_closing_korean(place.said)
        return _wide(before) and (_wide(after) or after in "「『“")
    return _wide(after) or after in "「『“" or (after.isupper() and before.islower())


def _goes_on_in_small_letters(place: _Place) -> bool:
    """A small letter continues the sentence, unless it is an iPhone or the writer uses no capitals at all."""
    word = place.word
    if not word[:1].islower() or not _roman(word[0]):
        return False
    if not word.islower():
        return False
    return not (place.advised and place.line == place.line.lower() and not place.opening.strip())


# --- behind closing quotes and brackets ---------------------------------------------------------------------------


def _ends_after_quote(place: _Place) -> bool:
    rest, code = place.rest, place.code
    if rest[0] in _PAIRS and rest[0] not in "([（":
        return True  # the next speaker's quotation
    if code == "ko":
        return not _continues_in_korean(place)
    if code == "ja":
        return not _continues_in_japanese(place, quoted=True)
    if code == "zh":
        return not _continues_in_chinese(place)
    if _goes_on_in_small_letters(place):
        return False  # "Really?" he asked.
    if _dash(rest):
        return bool(_QUOTES & set(place.opening))  # „Warum?“ – „Darum.“ but «Правда?» — Иван кивнул.
    return not _is_attribution(place)


def _ends_after_bracket(place: _Place) -> bool:
    embedded = _speakable(place.line[place.start : max(place.stop.opened_at, place.start)])
    if _TITLE_CLOSERS & set(place.stop.closed) or _continues_in_japanese(place, quoted=True):
        return False
    if _wide(place.rest[0]):
        return not embedded and (place.gap or place.code in ("ja", "zh"))
    return not _goes_on_in_small_letters(place)


def _dash(text: str) -> bool:
    return text[:1] in ("—", "–", "―") or text.startswith("- ")


def _clause(text: str) -> str:
    """Up to the next stop mark or comma, that one included."""
    found = re.match(r"[^.?!…。？！，,：:]*[.?!…。？！，,：:]?", text)
    return found[0] if found else ""


def _is_attribution(place: _Place) -> bool:
    """`"Really?" Tom asked.` and `— É sério? — Maria perguntou.`: who speaks, in a clause of a few words."""
    verbs = _SPEECH.get(place.code)
    quoted = bool(_QUOTES & set(place.stop.closed))
    # Only English puts a capital right behind the quote: `"Really?" Tom asked.`; elsewhere a dash comes first.
    if verbs is None or not ((quoted and place.code == "en") or _dash(place.rest)):
        return False
    clause = _clause(place.rest[len(place.opening) :]).rstrip(".,!?… ")
    if _NOBODY & set(clause.casefold().split()):
        return False
    if quoted and place.stop.marks[-1] in "?!" and re.match(rf"I (?:{verbs})\b", clause):
        return True  # "Why?" I asked her on the stairs.
    return re.fullmatch(rf"(?:[\w’'.-]+ ){{0,3}}(?:{verbs})(?: \w+)?", clause) is not None


_KO_PARTICLE = re.compile(
    r"(?:이?라(?:고|며|면서|는|던|니|기|서)|이?란|하(?:고|며|면서|는)|고|며|는|은|이|가|을|를|의|에|와|과|도|만|로|으로|처럼|같은|까지|부터)(?:\s|[,.])"
)
_KO_SPEECH = re.compile(
    r"(?:[가-힣\w]+\s){0,4}"
    r"(?:[가-힣]*(?:(?<!다)물었|말했|외쳤|대답했|소리쳤|속삭였|답했|중얼거렸|덧붙였|반문했|부르짖었|설명했|털어놓았)(?:다|습니다|어요|죠|지)"
    r"|[가-힣]*(?:물으셨|말씀하셨|대답하셨)(?:다|습니다|어요|죠))$"
)


def _continues_in_korean(place: _Place) -> bool:
    if not place.gap:
        return _hangul(place.rest[0])  # 이라고, 라는, 를 …: particles are written to the quote
    clause = _clause(place.rest).rstrip(".!?…, ")
    return _KO_PARTICLE.match(place.rest) is not None or _KO_SPEECH.fullmatch(clause) is not None


_JA_TO = re.compile(
    r"と(?!ころ|ても|っても|にかく|りあえず|もかく|もあれ|ある|はいえ|は言え|(?:いう|言う)(?:わけ|こと)で|いっても|き(?!い[たて]|きまし)|うとう|びきり)"
)
_JA_PARTICLE = re.compile(
    r"って(?!こと|か)|など|を"
    r"|[がにはものへ](?=[\u4e00-\u9fff\u30a1-\u30fa「『“A-Za-z0-9０-９])|は、"
    r"|の(?![\u4e00-\u9fff]|ち|んび|っ|ど|び|ぞ|ろ|り)|が(?!んば|っ|、|む|つ|ち|ら)|は(?=と|す|ど|こ|ま)"
)
_JA_COPULA = re.compile(r"(?:です|でした|だった|だと|である|じゃない|なんて(?:言|思|聞|声|こと))")
_JA_SPEECH = re.compile(
    r"[^。！？、「」を]{0,10}(?:聞い|訊い|言っ|叫ん|尋ね|たずね|答え|つぶやい|呟い|ささやい|囁い|怒鳴っ|問いかけ|返し)(?:た|ました)[。、]?"
)


def _continues_in_japanese(place: _Place, *, quoted: bool) -> bool:
    """A particle never begins a sentence: `「本当？」と聞いた`, and `モーニング娘。の新曲` too."""
    if place.code != "ja" or (place.gap and not quoted):
        return False
    rest = place.rest
    if _JA_TO.match(rest) or _JA_PARTICLE.match(rest):
        return True
    if not quoted:
        return False
    return bool(re.match(r"で(?=[\u4e00-\u9fff\u30a1-\u30fa])", rest) or _JA_COPULA.match(rest)) or bool(
        _JA_SPEECH.fullmatch(_clause(rest))
    )


_ZH_SPEECH = re.compile(
    r"[^。！？，：“”「」]{0,8}?"
    r"(?:[说說问問喊叫答笑叹嘆吼嚷骂罵哭吩咐]道|[说說问問喊叫答嚷吼]|回答|回应|解释|解釋|补充|補充|追问|追問|反问|反問|嘀咕|感叹|感嘆)"
    r"(?:[着了过著過])?(?:[我你他她](?:们|們)?|大家)?[。！？，…]?"
)
_ZH_CONTINUES = re.compile(
    r"的|是(?![的吗嗎啊呀，。])|这[个個句样種种一]|這[個句樣種一]|那[个個句]|然后|然後|于是|於是|便|就|并|並|却|而|等|之[类類]|一[声聲句]"
)


def _continues_in_chinese(place: _Place) -> bool:
    rest = place.rest
    if _ZH_CONTINUES.match(rest):
        return True
    before = place.line[: place.stop.opened_at].rstrip() if place.stop.opened_at > 0 else ""
    introduced = before.endswith(("：", ":"))
    clause = _clause(rest)
    # `…”她问：“…` names the next speaker.
    if not introduced and not clause.endswith(("：", ":")) and _ZH_SPEECH.fullmatch(clause):
        return True
    # A quotation that no mark introduces is a part of its sentence, unless a verb of speech stands before it.
    embedded = _wide(before[-1:] or " ") and place.line[place.start : place.stop.opened_at].strip() != ""
    return embedded and not re.search(r"[说說问問喊叫答道]$", before)


# --- ellipses -----------------------------------------------------------------------------------------------------


def _ends_at_ellipsis(place: _Place) -> bool:
    """`Wait... what?` goes on and `I can't believe it... But it's true.` does not."""
    if place.code == "ko":
        return _is_closing_korean(place.said)
    if place.code in ("ja", "zh"):
        return False  # both use it for a pause far more often than for an end; an end has its 。
    if _wide(place.rest[0]) or not place.word[:1].isupper():
        return False
    hesitation = place.said.casefold() in _HESITATIONS
    return not hesitation and (place.gap or place.advised)


def _is_closing_korean(said: str) -> bool:
    """The last word has a final ending: 했어요, 합니다, 그렇죠; not the sigh 글쎄요."""
    word = re.split(r"[^가-힣]", said)[-1]
    if len(word) < 2 or word in ("글쎄요", "저요", "그다", "보다", "마다", "여기다"):
        return False
    return word.endswith(("다", "요", "죠")) or (word.endswith("니까") and _has_final_bieup(word[-3:-2]))


def _has_final_bieup(syllable: str) -> bool:
    """합니까 asks; 하니까 gives a reason and goes on."""
    return bool(syllable) and (ord(syllable) - 0xAC00) % 28 == 17


# --- full stops ---------------------------------------------------------------------------------------------------


def _ends_at_full_stop(place: _Place) -> bool:
    said, code = place.said, place.code
    token = re.split(r"[\s(\[\"'“‘„«「『（/]", said)[-1]
    if _is_list_marker(place, token):
        return False
    if _next_list_item_follows(place):
        return True
    if token[-1:].isdigit():
        return _ends_after_number(place, token)
    if not said[-1:].isalnum():
        return True  # «no». 50 %.
    abbreviation = _abbreviation(said)
    verdict = _judged_by_tables(place, token.casefold(), abbreviation)
    if verdict is not None:
        return verdict
    if code in ("ko", "ja", "zh", "it"):
        return True  # sentencex knows a thousand Italian abbreviations, "mai", "via" and "ore" among them
    # A word of six letters is hardly an abbreviation.
    return place.advised or len(token) > 5 or token.casefold() in _WORDS_AFTER_ALL.get(code, ())


def _is_list_marker(place: _Place, token: str) -> bool:
    """`1.` or `A.` where a sentence begins, or behind a colon."""
    if not re.fullmatch(r"\d{1,3}|[A-Za-z]|[IVX]{1,4}|[가나다라마바]|\d{1,2}(?:\.\d{1,2})+", token):
        return False
    before = place.said[: len(place.said) - len(token)].strip(" *_•·-—–(\"'“‘«「")
    return not before or before.endswith((":", "："))


def _next_list_item_follows(place: _Place) -> bool:
    following = re.match(r"(\d{1,2})[.)]\s", place.rest)
    if not following:
        return False
    markers = re.findall(r"(?:^|[\s:：])(\d{1,2})[.)]\s", place.line[place.start : place.stop.begin])
    return bool(markers) and int(markers[-1]) + 1 == int(following[1])


_EAST_DATE = re.compile(r"(?:^|[^\d.])(?:\d{4}|['’]?\d{2})\.\s?\d{1,2}(?:\.\s?\d{1,2})?$")
_EAST_DAY = re.compile(r"(?:^|[^\d.])(?:0?[1-9]|1[0-2])\.\s?(?:0?[1-9]|[12]\d|3[01])$")
_KO_DATED = re.compile(
    r"기준|현재|부터|까지|오전|오후|자로|자\s|에\s|당시|이후|이전|발표|출시|작성|업데이트|개봉|방송|\([월화수목금토일]\)"
)


def _ends_after_number(place: _Place, token: str) -> bool:
    if place.code in ("ko", "ja", "zh"):
        if re.match(r"\d{1,2}\.", place.rest) and re.search(r"\d{4}(?:\.\s?\d{1,2})?$", place.said):
            return False  # 2026. 2. 19.
        # An official Korean date ends in a full stop of its own.
        if _EAST_DATE.search(place.said) and re.search(r"(?:^|\D)\d{4}\.|\d{1,2}\.\s?\d{1,2}\.\s?\d{1,2}$", place.said):
            return False
        if place.code != "ko" and re.fullmatch(r"\d{1,2}", token):
            return False  # neither ends a sentence in an ASCII stop behind a number: 2. 閉じる
        return not (_EAST_DAY.search(place.said) and _KO_DATED.match(place.rest))
    if place.code == "de" and re.fullmatch(r"\d{1,2}", token):
        return not _is_german_ordinal(place, token)
    if place.code == "de" and re.fullmatch(r"\d{1,2}\.\d{1,2}", token):
        return place.word.casefold() in _STARTERS["de"]  # am 3.10. Danach …
    return place.rest[0] not in "0123456789" or place.advised


_DE_ORDERED = re.compile(
    r"(?:Jan|Feb|Mär|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez)|Jh|Jahrhundert|Jahrtausend|Weltkrieg|Platz|Mal\b|Tag\b|Kapitel|"
    r"Klasse|Stock|Runde|Staffel|Teil|Folge|Etage|Auflage|Geburtstag|Jahrestag|Liga|Halbzeit|Minute|Stunde|Woche|Mann\b"
)
_DE_BEFORE_ORDINAL = _words(
    "am der die das dem den des im vom zum zur beim bis ab jeder jede jedes jeden mein dein sein ihr "
    "unser euer meinen deinen seinen ihren unseren meinem seinem ihrem unserem dieser diese dieses "
    "diesem diesen ein einen einem kein ins"
)


def _is_german_ordinal(place: _Place, token: str) -> bool:
    """`am 3. Oktober` against `in der Berliner Str. 5. Er ist Arzt.`"""
    if _DE_ORDERED.match(place.rest):
        return True
    before = place.said[: len(place.said) - len(token)].split()
    article = bool(before) and before[-1].casefold() in _DE_BEFORE_ORDINAL
    return article and place.word.casefold() not in _STARTERS["de"]


def _abbreviation(said: str) -> str:
    """`um 5 p. m` to `p.m`: the letters at the end that belong to one abbreviation."""
    found = re.search(r"(?<![\w.])(?:[^\W\d_]{1,2}\.[ \u00a0]?)+[^\W\d_]{1,4}$", said)
    return re.sub(r"\s", "", found[0]) if found and not any(map(_wide, found[0])) else ""


def _judged_by_tables(place: _Place, token: str, abbreviation: str) -> bool | None:
    """Whether the sentence ends, by the tables of abbreviations; None where they do not know the word."""
    tables = _ABBREVIATIONS.get(place.code, _ABBREVIATIONS_ELSEWHERE)
    starts = place.word.casefold() in _STARTERS[place.code]
    number = re.match(r"[№#]?\d|[IVXLC]+\b", place.rest) is not None
    keys = {token, abbreviation.casefold()} - {""}
    if keys & tables.closing:
        return not number
    if place.code == "ru" and token in ("г", "см", "д", "с") and re.search(r"\d\s?\w+$", place.said):
        return starts  # 1799 г. is a year, г. Москва a town; 5 см. a length, см. a hint to a page
    if keys & tables.leading:
        return False
    if keys & tables.numbered and (number or len(token) > 1):
        return not number
    if token in _UNITS and re.search(r"\d\s?\w+$", place.said) and place.code != "ru":
        return True
    if keys & tables.either or any(token.endswith(end) for end in tables.endings):
        return starts or (place.code == "en" and place.advised)
    if re.match(r"[^\W\d_]\.", place.rest) and re.search(r"(?:^|[.-])\w$", token) and _roman(token[-1]):
        return False  # J. K.
    if re.fullmatch(r"[^\W\d_]\.-[^\W\d_]", token):
        return False  # J.-P.
    if place.code == "ru" and token.isascii() and token.isalpha():
        return True  # Пётр I.
    if place.code == "ko" and len(token) == 1 and _KO_LETTERED.search(place.said):
        return True
    last = abbreviation.split(".")[-1]
    if len(last) == 1 or last.isupper() or (len(token) == 1 and _roman(token)):  # as p. m., EE. UU. and C.
        return place.advised if place.code == "en" else starts
    return None


_UNITS = _words("h m km cm mm g kg mg l ml w kw kwh mah gb mb tb")
_KO_LETTERED = re.compile(
    r"(?:비타민|플랜|등급|학점|옵션|타입|그룹|코스|파트|보기|정답|답은|시리즈|[가-힣]형|[가-힣]조|팀|반)\s[A-Z]$"
)
"""비타민 C. ends a sentence, 작가 J. is half of a name."""


@dataclass(frozen=True)
class _Abbreviations:
    """Without their last full stop, in small letters; spaces between the parts are left out."""

    leading: frozenset[str]
    """Something always follows: Dr., z. B."""
    numbered: frozenset[str]
    """A number follows, else it is a word of its own: No. 1, S. 12"""
    closing: frozenset[str]
    """A capital behind it begins a sentence: etc."""
    either: frozenset[str]
    """A capital may be a name or a new sentence; the next word decides: 5 p. m., EE. UU., 1799 г."""
    endings: tuple[str, ...] = ()
    """As `either`, for compounds: Hauptstr."""


_WORDS_AFTER_ALL = {
    "de": _words("mag ass art bis al"),
    "fr": _words("vol sous dir sup al ex"),
    "es": _words("un con en no nos da di mar re sub para pro ex bis uni ten"),
    "pt": _words("ex con rev"),
    "ru": _words("муж жен куб дол тел о у с в к и а"),
}
"""Words that sentencex takes for abbreviations."""


def _table(leading: str, numbered: str, closing: str, either: str, endings: str = "") -> _Abbreviations:
    return _Abbreviations(
        _words(leading),
        _words(numbered),
        _words(closing),
        _words(either),
        tuple(endings.split()),
    )


_ABBREVIATIONS_ELSEWHERE = _table(
    "dr mr mrs ms prof st vs feat ft", "no nos vol fig ver ep p pp ch", "etc", "inc ltd co jr sr"
)
"""English ones inside Korean, Japanese and Chinese."""
_ABBREVIATIONS = {
    "en": _table(
        "dr mr mrs ms mx prof st gen sen rep gov capt cpt sgt lt col maj rev hon mt messrs e.g i.e vs cf approx feat",
        "no nos vol fig figs p pp ch sec eq art ver ep",
        "",
        "",
    ),
    "de": _table(
        "dr prof hr hrn frl st sog bzw ca evtl ggf inkl exkl zzgl max vgl bspw insb dipl ing z.b d.h i.d.r z.zt u.a.m "
        "u.a geb gest hl o.g s.o s.u i.a",
        "nr nrn s bd abb kap art abs ziff tel fig",
        "usw etc uvm u.v.m usf",
        "jh jhd chr v.chr n.chr ff f mio mrd tsd std min sek z.t o.ä u.ä str pl",
        "str",
    ),
    "fr": _table(
        "m mm mme mmes mlle mlles dr drs pr me mgr st ste env boul bd av p.ex c.-à-d cf vs",
        "p pp n no art fig vol chap tél t éd",
        "etc",
        "j.-c av.j.-c apr.j.-c s hab min",
    ),
    "es": _table(
        "sr sra srta sres sras dr dra drs dras d dña prof profa lic ing arq gral av avda pza sto sta fr mons p.ej ej "
        "excmo ee vs",
        "núm num n no pág págs p pp fig art cap vol tel c s pta km",
        "etc",
        "p.m a.m ee.uu uu a.c d.c s.a s.l cía ud uds vd vds dpto depto min",
    ),
    "pt": _table(
        "sr sra srs sras srta dr dra drs dras prof profa eng arq av r pe d sto sta exmo exma v p.ex ex gal cel vs",
        "núm num n pág págs p pp fig art cap vol tel séc",
        "etc",
        "a.c d.c s.a ltda cia p.m a.m min exa",
    ),
    "it": _table(
        "sig sigg sig.ra sig.na dott dott.ssa dr dr.ssa prof prof.ssa avv ing arch geom rag on mons s ss p.es es v.le "
        "p.zza c.so cfr vs egr gent",
        "n nn no num pag pagg p pp fig art cap vol tel sez",
        "ecc etc",
        "a.c d.c s.p.a s.r.l sec min",
    ),
    "ru": _table(
        "ул просп пл пер наб кв корп обл проф акад доц инж св гр тов ср напр т.е т.к т.н т.о г-н г-жа д-р "
        "см д ген гл п",
        "рис табл ст стр с т гл п тел разд кн",
        "т.д т.п пр",
        "г гг в вв н.э руб коп тыс млн млрд мин сек км кг чел шт др р ч им о",
    ),
}

_STARTERS: dict[str, frozenset[str]] = {
    "ko": _words(
        "그리고 그래서 하지만 그런데 그러나 그럼 그러면 또 또한 이제 다음 다음은 이 그 저 우리 오늘 오늘은 "
        "여기 여기서 이것은 그것은 하나"
    ),
    "ja": frozenset(),
    "zh": frozenset(),
    "en": _words(
        "i it he she we they you this that these those the a an and but so then now there here what why how "
        "when where who if in on at after before later my your his her our their its let no yes not"
    ),
    "de": _words(
        "er sie es das die der den dem wir ich du ihr dann danach doch aber und heute jetzt hier dort da so "
        "nun man wer was wie wo warum wann wenn als weil auch nur noch schon später dazu deshalb darum dafür "
        "dabei damit außerdem alle alles ein eine einen kein keine mein meine sein seine unser unsere ja "
        "nein in im am an auf mit nach von zu für bei vor seit trotzdem dies diese dieser dieses oder denn "
        "ob morgen gestern zuerst vielleicht leider natürlich zum zur"
    ),
    "fr": _words(
        "il elle ils elles on je j tu nous vous ce c cela ça ces cette cet le la les l un une des mais et "
        "puis ensuite alors donc or car aujourd hier demain ici là maintenant après avant dans en sur "
        "pour avec sans si quand comme qui que qu' quoi où pourquoi comment son sa ses mon ma mes notre nos "
        "leur leurs plus tout tous oui non enfin voici voilà"
    ),
    "es": _words(
        "él ella ellos ellas yo tú usted ustedes nosotros esto eso este esta estos estas ese esa el la los "
        "las lo un una unos unas pero y luego después entonces así hoy ayer mañana aquí allí ahora en con "
        "por para sin si cuando como qué quién dónde cómo por su sus mi mis nuestro nuestra es son era fue "
        "hay no sí también además finalmente nadie todo todos se nos le les me te"
    ),
    "pt": _words(
        "ele ela eles elas eu você vocês nós isto isso este esta estes estas esse essa o a os as um uma mas "
        "e depois então assim hoje ontem amanhã aqui ali agora em no na nos nas com por para sem se quando "
        "como que quem onde seu sua seus suas meu minha nosso nossa é são era foi há não sim também além "
        "finalmente ninguém tudo todos logo"
    ),
    "it": _words(
        "lui lei loro io tu noi voi egli ella questo questa questi queste quello quella il lo la i gli le l "
        "un uno una ma e poi dopo allora così oggi ieri domani qui lì ora adesso in nel nella con per senza "
        "se quando come che chi dove perché cosa suo sua suoi sue mio mia nostro nostra è sono era fu c ci "
        "no non sì anche inoltre infine nessuno tutto tutti si vi mi ti"
    ),
    "ru": _words(
        "он она оно они я ты мы вы это этот эта эти тот та те то и а но или да нет не ни в во на по с со к у "
        "о об от до для из за под при через после перед затем потом тогда теперь сейчас сегодня вчера завтра "
        "здесь там тут так такой как когда где куда почему зачем что кто если хотя его её их мой моя наш "
        "наша ваш все всё вся очень уже ещё только также однако поэтому например"
    ),
}
"""Words that begin a sentence far more often than they are part of a name."""

_SPEECH = {
    "en": "asked|said|replied|answered|shouted|whispered|cried|yelled|muttered|added|called|screamed|"
    "exclaimed|wondered",
    "de": "fragte|sagte|rief|antwortete|flüsterte|schrie|meinte|erwiderte",
    "fr": "demanda|demande|dit|répondit|répond|cria|murmura|s'écria|a demandé|a dit|a répondu|a crié",
    "es": "preguntó|dijo|respondió|contestó|gritó|susurró|exclamó|añadió",
    "pt": "perguntou|disse|respondeu|gritou|sussurrou|exclamou|falou",
    "it": "chiese|disse|rispose|gridò|sussurrò|esclamò|domandò|ha chiesto|ha detto",
    "ru": "спросила?|сказала?|ответила?|крикнула?|закричала?|прошептала?|воскликнула?|произн[её]сл?а?|добавила?",
}
_NOBODY = _words("nobody no not niemand personne nadie no ninguém não nessuno non никто не")
"""`"Why?" Nobody answered.` tells what happened next, not who spoke."""
_GOES_ON_QUOTING = {"ko": _words("라고 이라고 라며 라면서 라는 이라는 하고")}
_HESITATIONS = _words(
    "well um uh er erm so oh ah hmm and but or because äh ähm also eh euh bon эээ ну este pues né beh"
)
_NAMES_WITH_A_MARK = _words("yahoo jeopardy joomla wham kahoot")


# --- which language is this? --------------------------------------------------------------------------------------

_TELLING_WORDS: dict[str, frozenset[str]] = {
    "en": _words(
        "the and of to is it that you this was are with for have not be they we what from there can will "
        "your how has he she his her but do if my would about which when who it's i'm don't"
    ),
    "de": _words(
        "der die das und ist nicht ich wir sie es ein eine zu den mit auf für von dem im sich auch wie war "
        "haben wird sind aber noch nur oder wenn bei nach so hat uns ihr was einen er heute sehr wurde kann"
    ),
    "fr": _words(
        "le la les et est une des du dans que qui pour pas nous vous il elle ce cette sur avec au aux sont "
        "mais je plus ne se ou comme on par fait être avons c'est j'ai aujourd'hui bonjour très"
    ),
    "es": _words(
        "el la los las y es una que del por para con no se lo como pero más su muy este esta está son hay "
        "también cuando donde nos hoy qué al fue ser ya sí ha un en hola porque todo"
    ),
    "pt": _words(
        "o os as e é uma que do da dos das por para com não se como mas mais seu sua muito este esta está "
        "são há também quando onde nos hoje ao foi ser já sim um em no na você eu isso ele ela pelo olá"
    ),
    "it": _words(
        "il lo gli le e è una che di del della dei per con non si come ma più suo molto questo questa sono "
        "c'è anche quando dove ci oggi al fu essere già sì ha un in nel nella perché lui ciao tutto dal alla"
    ),
}
_TELLING_LETTERS = {
    "de": "ßäöü",
    "fr": "çèêëîïœùûàâô",
    "es": "ñ¿¡áíóúé",
    "pt": "ãõçâêôáíóúéà",
    "it": "òìùèàé",
}


def detect_language(text: str) -> str:
    """The name of the one of the ten that the text is most likely in; English where nothing tells.

    Korean, Japanese, Chinese and Russian by their script, the others by their small words and their letters.
    """
    text = re.sub(r"https?://[!-~]+|www\.[!-~]+|[!-~]+@[!-~]+", " ", text)  # addresses are Latin in every language
    counts = {
        "hangul": sum(map(_hangul, text)),
        "kana": sum(map(_kana, text)),
        "han": sum(map(_han, text)),
        "cyrillic": sum("Ѐ" <= character <= "ӿ" for character in text),
        "latin": sum(character.isalpha() and unicodedata.name(character, "").startswith("LATIN") for character in text),
    }
    # One character of these is a syllable or more; names of products in Latin letters must not outweigh them.
    east = 3 * (counts["hangul"] + counts["kana"] + counts["han"])
    if not any(counts.values()):
        return LANGUAGES["en"]
    if east >= max(counts["latin"], counts["cyrillic"]):
        if counts["hangul"] >= counts["kana"] + counts["han"]:
            return LANGUAGES["ko"]
        return LANGUAGES["ja" if counts["kana"] * 20 >= counts["han"] and counts["kana"] else "zh"]
    if counts["cyrillic"] >= counts["latin"]:
        return LANGUAGES["ru"]
    return LANGUAGES[_latin_language(text)]


def _latin_language(text: str) -> str:
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", text.casefold().replace("’", "'"))
    scores = dict.fromkeys(_TELLING_WORDS, 0.0)
    for word in words:
        # l'uomo, d'accord, j'ai: the part before the apostrophe tells nothing that the table does not hold whole.
        knowing = [code for code in scores if word in _TELLING_WORDS[code] or word in _STARTERS[code]]
        for code in knowing:
            scores[code] += 1 / len(knowing)
    for character in text.casefold():
        knowing = [code for code, letters in _TELLING_LETTERS.items() if character in letters]
        for code in knowing:
            scores[code] += 1 / len(knowing)
    best = max(scores.values())
    return next(code for code in scores if scores[code] == best)
