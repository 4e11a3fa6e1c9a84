"""Whether a sentence ends behind a quotation or a bracket, language by language."""

from __future__ import annotations

import re

from server.sentences.place import (
    PAIRS,
    QUOTES,
    TITLE_CLOSERS,
    Place,
    goes_on_in_small_letters,
    is_hangul,
    is_speakable,
    is_wide,
)
from server.sentences.words import word_set


def ends_after_quote(place: Place) -> bool:
    rest, code = place.rest, place.code
    if rest[0] in PAIRS and rest[0] not in "([（":
        return True  # the next speaker's quotation
    if code == "ko":
        return not _continues_in_korean(place)
    if code == "ja":
        return not continues_in_japanese(place, quoted=True)
    if code == "zh":
        return not _continues_in_chinese(place)
    if goes_on_in_small_letters(place):
        return False  # "Really?" he asked.
    if _dash(rest):
        return bool(QUOTES & set(place.opening))  # „Warum?“ – „Darum.“ but «Правда?» — Иван кивнул.
    return not is_attribution(place)


def ends_after_bracket(place: Place) -> bool:
    embedded = is_speakable(place.line[place.start : max(place.stop.opened_at, place.start)])
    if TITLE_CLOSERS & set(place.stop.closed) or continues_in_japanese(place, quoted=True):
        return False
    if is_wide(place.rest[0]):
        return not embedded and (place.gap or place.code in ("ja", "zh"))
    return not goes_on_in_small_letters(place)


def _dash(text: str) -> bool:
    return text[:1] in ("—", "–", "―") or text.startswith("- ")


def _clause(text: str) -> str:
    """The text up to the next stop mark or comma, which is included."""
    found = re.match(r"[^.?!…。？！，,：:]*[.?!…。？！，,：:]?", text)
    return found[0] if found else ""


def is_attribution(place: Place) -> bool:
    """A clause of a few words says who speaks: `"Really?" Tom asked.`, `— É sério? — Maria perguntou.`"""
    verbs = _SPEECH.get(place.code)
    quoted = bool(QUOTES & set(place.stop.closed))
    # Only English puts a capital right after the quote: `"Really?" Tom asked.`; elsewhere a dash comes first.
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


def _continues_in_korean(place: Place) -> bool:
    if not place.gap:
        return is_hangul(place.rest[0])  # 이라고, 라는, 를 …: particles follow a quote without a space
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


def continues_in_japanese(place: Place, *, quoted: bool) -> bool:
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


def _continues_in_chinese(place: Place) -> bool:
    rest = place.rest
    if _ZH_CONTINUES.match(rest):
        return True
    before = place.line[: place.stop.opened_at].rstrip() if place.stop.opened_at > 0 else ""
    introduced = before.endswith(("：", ":"))
    clause = _clause(rest)
    # `…”她问：“…` names the next speaker.
    if not introduced and not clause.endswith(("：", ":")) and _ZH_SPEECH.fullmatch(clause):
        return True
    # A quotation that no colon introduces is a part of its sentence, unless a verb of speech stands before it.
    embedded = is_wide(before[-1:] or " ") and place.line[place.start : place.stop.opened_at].strip() != ""
    return embedded and not re.search(r"[说說问問喊叫答道]$", before)


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

_NOBODY = word_set("nobody no not niemand personne nadie no ninguém não nessuno non никто не")
"""`"Why?" Nobody answered.` tells what happened next, not who spoke."""

GOES_ON_QUOTING = {"ko": word_set("라고 이라고 라며 라면서 라는 이라는 하고")}

HESITATIONS = word_set(
    "well um uh er erm so oh ah hmm and but or because äh ähm also eh euh bon эээ ну este pues né beh"
)

NAMES_WITH_A_MARK = word_set("yahoo jeopardy joomla wham kahoot")
