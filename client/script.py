"""A script file, read into headings, paragraphs and lines to be spoken. Knows no server and no project folder.

What is spoken and what is not:

    # Heading            not spoken; labels the first sentence after it (in .txt and .md, with a space after the #)
    [label] Sentence.    the label is not spoken; it wins over the heading
    // comment           not spoken, at the start of a line of a .txt file
    (empty line)         a new paragraph
    (line break)         ends a sentence in .txt; in .md the paragraph goes on, unless the line ends in two spaces

In .md, marks such as emphasis, links, bullets, quotation marks of mail and HTML tags are taken off and their words
kept; front matter, code blocks, images, HTML comments and the rule lines of tables are left out.
"""

from __future__ import annotations

import codecs
import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from charset_normalizer import from_bytes

from client.sentences import detect_language, split_sentences
from server.contract import LANGUAGES, language_name
from server.messages import t

TEXT_SUFFIXES = frozenset({".txt"})
MARKDOWN_SUFFIXES = frozenset({".md", ".markdown"})
MAX_FILE_BYTES = 5_000_000
"""About 500 hours of speech: whatever is larger is no script."""
MAX_LABEL_CHARS = 60
"""Longer text in square brackets is a part of the sentence."""


class ScriptError(Exception):
    """The script cannot be used; its text is a whole sentence in the reader's language."""


@dataclass(frozen=True)
class Line:
    text: str
    """One sentence as it will be spoken."""
    label_source: str
    """The label or heading that names this line's file; empty for all others."""
    paragraph: int
    """From 1"""
    heading: str
    """The heading that this line stands under."""
    source_line: int
    """Line of the file on which the sentence begins, from 1."""


@dataclass(frozen=True)
class Script:
    name: str
    """The file's name."""
    language: str
    """Name of one of the ten, given or detected."""
    lines: tuple[Line, ...]


def read_script(path: Path, language: str | None = None) -> Script:
    """Reads a .txt or .md file; the language is detected where none is given. Raises ScriptError."""
    data = _read(path)
    text = _decode(data, path.name)
    name = unicodedata.normalize("NFC", path.name)
    script = parse_script(text, path.suffix.casefold() in MARKDOWN_SUFFIXES, language)
    if not script.lines:
        raise ScriptError(
            t("There is nothing to speak in {file}: no sentence with a letter or a digit. Write some text.", file=name)
        )
    return replace(script, name=name)


def parse_script(text: str, markdown: bool, language: str | None) -> Script:
    """The same for text in hand; its name stays empty and it may have no lines. Raises ScriptError for the language."""
    passages = list((_markdown_passages if markdown else _text_passages)(_clean(text)))
    spoken_in = _language(language, passages)
    return Script("", spoken_in, tuple(_lines(passages, spoken_in)))


def _language(given: str | None, passages: list[_Passage]) -> str:
    if given is None:
        return detect_language("\n".join(passage.text for passage in passages))
    try:
        return language_name(given)
    except ValueError as error:
        names = ", ".join(LANGUAGES.values())
        raise ScriptError(
            t("The language {language} is not one of the ten: {languages}.", language=given, languages=names)
        ) from error


# --- from bytes to text -------------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    path = _as_spelled_on_disk(path)
    file = unicodedata.normalize("NFC", path.name) or str(path)
    if path.is_dir():
        raise ScriptError(t("{file} is a folder. Give one script: a .txt or .md file.", file=file))
    if not path.exists():
        raise ScriptError(
            t(
                "There is no file {path}. Check its name and folder; put a path with spaces into double quotes.",
                path=path,
            )
        )
    if path.suffix.casefold() not in TEXT_SUFFIXES | MARKDOWN_SUFFIXES:
        raise ScriptError(
            t(
                "{file} is not a script that can be read: .txt and .md are. Save the text as one of these, in UTF-8.",
                file=file,
            )
        )
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ScriptError(
                t(
                    "{file} has {size} bytes; a script has at most {limit}. Is it really the text? Else split it.",
                    file=file,
                    size=path.stat().st_size,
                    limit=MAX_FILE_BYTES,
                )
            )
        return path.read_bytes()
    except OSError as error:
        raise ScriptError(
            t(
                "{file} cannot be read ({reason}). Close it in other programs and check its permissions.",
                file=file,
                reason=error.strerror or type(error).__name__,
            )
        ) from error


def _as_spelled_on_disk(path: Path) -> Path:
    """macOS and some zip programs write Hangul names in loose jamo (NFD); a typed name is NFC."""
    spellings = (path, *(Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD")))
    return next((spelling for spelling in spellings if spelling.exists()), path)


# UTF-32 first: its little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def _decode(data: bytes, file: str) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _or_refuse(_strictly(data[len(mark) :], encoding), file)
    text = _strictly(data, "utf-8")
    if text is None and not _is_damaged_utf8(data):
        text = _in_a_regional_encoding(data)
    return _or_refuse(text, file)


def _or_refuse(text: str | None, file: str) -> str:
    if text is None or _is_binary(text):
        raise ScriptError(
            t(
                "{file} cannot be read as text: its encoding is unknown, or it is damaged or no text at all. "
                "Open it in an editor and save it as UTF-8.",
                file=unicodedata.normalize("NFC", file),
            )
        )
    return text


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _is_binary(text: str) -> bool:
    odd = sum(unicodedata.category(c) in ("Cc", "Co", "Cn") and c not in "\t\n\r\f\v\x1a\x85\ufeff" for c in text)
    return "\x00" in text or odd * 50 > len(text)


def _is_damaged_utf8(data: bytes) -> bool:
    """Nearly all of it is UTF-8: guessing another encoding would speak gibberish all night."""
    text = data.decode("utf-8", "replace")
    whole = sum(ord(character) > 127 and character != "\ufffd" for character in text)
    return whole > 5 * text.count("\ufffd")


_FREQUENT_SYLLABLES = frozenset(
    "이다는에을의가고하를은한지로사도기서들그어나리자시니라해인대으요아과만일정있수게습면여보것안부제없때우생스장말세내주"
    "거전오저선까데와구상음던마원당동했된였았었겠네죠신물성러비유야합입중모든위간무영경소방문러트운교치공연계반미국실조"
)
"""Half of all the syllables of any Korean text; Chinese or Japanese bytes read as CP949 give rare ones."""
_FREQUENT_HAN = frozenset(
    "的一是不了在人有我他这個个们們中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于着著下自之年"
)
_FREQUENT_RUSSIAN = frozenset("оеаинтсрвлкмдпу")
_LEGACY_LATIN = frozenset("äöüßàâçèéêëîïôùûœáíóúñ¿¡ãõìòÄÖÜÉÀÇ€«»„“”‘’–—… ")


def _in_a_regional_encoding(data: bytes) -> str | None:
    """Text from before UTF-8, by what its characters look like.

    Detectors go by statistics and take a short CP949 script for Chinese or Cyrillic; the languages that we speak have
    characters that tell with a handful of them.
    """
    best_text, best_likeness = None, 0.3
    for encoding, likeness_of in (
        ("cp949", _looks_korean),
        ("cp932", _looks_japanese),
        ("euc_jp", _looks_japanese),
        ("gb18030", _looks_chinese),
        ("big5", _looks_chinese),
        ("cp1251", _looks_russian),
        ("koi8_r", _looks_russian),
        ("cp1252", _looks_latin),
    ):
        text = _strictly(data, encoding)
        if text is not None and (likeness := likeness_of(text)) > best_likeness:
            best_text, best_likeness = text, likeness
    if best_text is not None:
        return best_text
    guess = from_bytes(data).best()
    return str(guess) if guess is not None else None


def _foreign(text: str) -> list[str]:
    return [character for character in text if ord(character) > 127 and not character.isspace()]


def _share(characters: list[str], wanted: frozenset[str]) -> float:
    return sum(character in wanted for character in characters) / max(1, len(characters))


def _looks_korean(text: str) -> float:
    foreign = _foreign(text)
    hangul = [c for c in foreign if "가" <= c <= "힣"]
    # At least a little: a title of two rare syllables is still most likely Korean with our users.
    return max(0.35, _share(hangul, _FREQUENT_SYLLABLES)) * len(hangul) / max(1, len(foreign))


def _looks_japanese(text: str) -> float:
    foreign = _foreign(text)
    # Half-width katakana are what any byte above 0xA0 becomes in Shift JIS, so they count for nothing.
    return min(1.0, 1.2 * sum("ぁ" <= c <= "ヿ" or c in "、。「」" for c in foreign) / max(1, len(foreign)))


def _looks_chinese(text: str) -> float:
    foreign = _foreign(text)
    han = [c for c in foreign if "㐀" <= c <= "鿿"]
    # A quarter of running text are these characters: four times their share is near 1.
    return min(0.95, 4 * _share(han, _FREQUENT_HAN)) * len(han) / max(1, len(foreign))


def _looks_russian(text: str) -> float:
    # KOI8-R and CP1251 swap the cases of each other's letters, and an accented letter becomes one between Latin ones.
    if re.search(r"[a-z][а-яё]|[а-яё][a-z]", text, re.IGNORECASE):
        return 0.0
    words = re.findall(r"[А-Яа-яЁё]+", text)
    usual = sum(len(word) for word in words if word.islower() or word.isupper() or word.istitle())
    letters = "".join(words)
    return _share(list(letters.casefold()), _FREQUENT_RUSSIAN) * usual / max(1, len(_foreign(text)))


def _looks_latin(text: str) -> float:
    # Accented letters stand among plain ones (`ção` is the longest row); more of them are another script's bytes.
    rows = sum(len(row) for row in re.findall(r"[À-ÿ]{3,}|[À-Þ][¡-ÿ]", text))
    foreign = _foreign(text)
    return (_share(foreign, _LEGACY_LATIN) * len(foreign) - rows) / max(1, len(foreign))


_UNSPOKEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ue000]"
)
"""Zero-width and direction marks, soft hyphens, Hangul fillers; and U+E000, which is a mark of our own below."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")


def _clean(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"[\v\f\x85\u2028\u2029]", " ", text)  # they would shift the editor's line numbers
    return unicodedata.normalize("NFC", _CONTROL.sub("", _UNSPOKEN.sub("", text)))


# --- from text to passages ----------------------------------------------------------------------------------------

_BREAK = "\ue000"
"""Stands for a line break within a passage until its sentences are found."""


@dataclass(frozen=True)
class _Passage:
    """What is split into sentences as one: a line of a .txt file, the running text of a Markdown paragraph."""

    text: str
    """With a mark for each line break of the source."""
    label: str
    paragraph: int
    heading: str
    source_line: int


@dataclass
class _Reader:
    """Where in the script we are."""

    paragraph: int = 0
    paragraph_open: bool = False
    heading: str = ""
    label: str = ""
    """Waits for the next sentence."""

    def close_paragraph(self) -> None:
        self.paragraph_open = False

    def begin_heading(self, heading: str) -> None:
        self.close_paragraph()
        self.heading = self.label = heading

    def passage(self, text: str, source_line: int) -> _Passage:
        if not self.paragraph_open:
            self.paragraph += 1
            self.paragraph_open = True
        label, self.label = self.label, ""
        return _Passage(text, label, self.paragraph, self.heading, source_line)


_HEADING = re.compile(r"\s{0,3}#{1,6}(?:\s+(.*?))?(?:\s+#+)?\s*")
"""CommonMark's rule: without the space, `#1` and `#tag` are words of the sentence."""
_LABEL = re.compile(rf"\s*\[([^\[\]]{{1,{MAX_LABEL_CHARS}}})\](?![(:\[])\s*(.*)", re.DOTALL)


def _speakable(text: str) -> bool:
    """Has a letter or a number; a kana length mark alone has no sound, and the server would refuse it."""
    return any(character.isalnum() and unicodedata.category(character) != "Lm" for character in text)


def _label_and_rest(line: str) -> tuple[str, str]:
    found = _LABEL.fullmatch(line)
    return (found[1].strip(), found[2]) if found else ("", line)


def _text_passages(text: str) -> Iterator[_Passage]:
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), start=1):
        if line.lstrip().startswith("//"):
            continue
        if heading := _HEADING.fullmatch(line):
            reader.begin_heading(heading[1] or "")
            continue
        label, rest = _label_and_rest(line)
        reader.label = label or reader.label
        if _speakable(rest):
            yield reader.passage(rest, number)
        elif not label:
            reader.close_paragraph()  # an empty line, or a rule such as ---


_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
_RULE = re.compile(r"\s*([-*_])(?:\s*\1){2,}\s*")
_TABLE_RULE = re.compile(r"\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)*\|?\s*")
_DEFINITION = re.compile(r"\s{0,3}\[[^\]]+\]:\s")
_BULLET = re.compile(r"\s*(?:[-*+]\s+(?:\[[ xX]\]\s+)?|(?=\d{1,3}[.)]\s))")
_QUOTED = re.compile(r"^\s{0,3}(?:>\s?)+")


def _markdown_passages(text: str) -> Iterator[_Passage]:
    reader = _Reader()
    run: list[str] = []
    """Source lines of the passage under way."""
    run_begins = 0
    lines = _without_blocks(text.split("\n"))

    def finish() -> Iterator[_Passage]:
        spoken = _without_marks(_BREAK.join(run))
        run.clear()
        if _speakable(spoken):
            yield reader.passage(spoken, run_begins)

    for number, raw in enumerate(lines, start=1):
        line = _QUOTED.sub("", raw, count=1)
        if run and len(run) == 1 and re.fullmatch(r"\s{0,3}=+\s*", line):  # Heading, underlined
            reader.begin_heading(_without_marks(run[0]).strip())
            run.clear()
            continue
        heading = _HEADING.fullmatch(line)
        if heading or not line.strip() or _RULE.fullmatch(line):
            yield from finish()
            reader.close_paragraph()
            if heading:
                reader.begin_heading(_without_marks(heading[1] or "").strip())
            continue
        if _TABLE_RULE.fullmatch(line) or _DEFINITION.match(line):
            yield from finish()
            continue
        bullet = _BULLET.match(line)
        row = line.lstrip().startswith("|")
        label, rest = _label_and_rest(line[bullet.end() :] if bullet else line)
        if bullet or row or label:
            yield from finish()
        reader.label = label or reader.label
        if row:
            rest = ", ".join(cell.strip() for cell in rest.strip().strip("|").split("|") if cell.strip())
        if not run:
            run_begins = number
        if rest.strip():
            run.append(rest.strip())
        if row or raw.endswith(("  ", "\\")):
            yield from finish()
    yield from finish()


def _without_blocks(lines: list[str]) -> list[str]:
    """Front matter, code blocks and comments as empty lines, so that the numbers of the others stay."""
    kept = list(lines)
    if kept and kept[0].rstrip() == "---":
        end = next((i for i, line in enumerate(kept[1:], start=1) if line.rstrip() in ("---", "...")), None)
        if end is not None:
            kept[: end + 1] = [""] * (end + 1)
    fence = ""
    for i, line in enumerate(kept):
        found = _FENCE.match(line)
        if fence:
            kept[i] = ""
            if found and found[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif found:
            fence, kept[i] = found[1], ""
    blank = re.sub(r"<!--.*?-->", lambda comment: "\n" * comment[0].count("\n"), "\n".join(kept), flags=re.DOTALL)
    return blank.split("\n")


_IMAGE = re.compile(r"!\[[^\]]*\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\]]*\])")
_LINK = re.compile(r"\[([^\[\]]*)\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\[\]]*\])")
_MARKS_OFF = (
    (re.compile(r"\[\^[^\]]+\]"), ""),  # footnote
    (_IMAGE, ""),
    (_LINK, r"\1"),
    (re.compile(r"<((?:https?://|mailto:)[^<>\s]+)>"), r"\1"),
    (re.compile(r"<br\s*/?>", re.IGNORECASE), "\n"),
    (re.compile(r"</?[A-Za-z][^<>]*>"), ""),
    (re.compile(r"(?<!\\)(`+)(.+?)(?<!\\)\1"), r"\2"),
    (re.compile(r"(?<![\\\d*])(\*{1,3})(?=[^\s*])(.+?)(?<=[^\s*\\])\1(?!\*)"), r"\2"),
    (re.compile(r"(?<!\\)(~~|==|__)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![A-Za-z0-9_\\])_(?=[^\s_])([^_]+?)(?<=\S)_(?![A-Za-z0-9_])"), r"\1"),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)
"""In this order: a link's text may be emphasised, an escaped star is none."""


def _without_marks(text: str) -> str:
    for pattern, kept in _MARKS_OFF:
        text = pattern.sub(kept, text)
    return html.unescape(text.rstrip("\\")).replace("\xa0", " ")


# --- from passages to lines ---------------------------------------------------------------------------------------


def _lines(passages: list[_Passage], language: str) -> Iterator[Line]:
    for passage in passages:
        label = passage.label
        said = 0
        source_lines = _source_lines(passage)
        for sentence in split_sentences(_running_text(passage.text, language), language):
            first, said = said, said + _inked(sentence)
            if _speakable(sentence):
                spoken = " ".join(sentence.split())
                yield Line(spoken, label, passage.paragraph, passage.heading, source_lines[first])
                label = ""


def _inked(text: str) -> int:
    """Characters but white space; split_sentences keeps all of them, so they tell where a sentence began."""
    return sum(not character.isspace() for character in text)


def _source_lines(passage: _Passage) -> list[int]:
    """For each inked character the line of the file that it is on."""
    numbers: list[int] = []
    line = passage.source_line
    for character in passage.text:
        line += character == _BREAK
        if character != _BREAK and not character.isspace():
            numbers.append(line)
    return numbers


def _running_text(text: str, language: str) -> str:
    """Line breaks within a Markdown paragraph become spaces, and nothing where the script writes without them."""
    if language in ("Japanese", "Chinese"):
        text = re.sub(rf"(?<=[^\x00-\x7f]){_BREAK}|{_BREAK}(?=[^\x00-\x7f])", "", text)
    return text.replace(_BREAK, " ")
