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

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from server.script.encoding import cleaned, decode
from server.script.errors import ScriptError
from server.script.markdown import markdown_passages
from server.script.passages import BREAK, Passage, is_speakable, text_passages
from server.sentences.language import detect_language
from server.sentences.split import split_sentences
from server.terminal.messages import t
from server.text.languages import LANGUAGES, language_name

TEXT_SUFFIXES = frozenset({".txt"})

MARKDOWN_SUFFIXES = frozenset({".md", ".markdown"})

MAX_FILE_BYTES = 5_000_000
"""About 500 hours of speech: a larger file is no script."""


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
    passage: int = field(default=0, compare=False)
    """From 1: between two passages the writer, not the splitter, ended a sentence."""


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
    text = decode(data, path.name)
    name = unicodedata.normalize("NFC", path.name)
    script = parse_script(text, path.suffix.casefold() in MARKDOWN_SUFFIXES, language)
    if not script.lines:
        raise ScriptError(
            t("There is nothing to speak in {file}: no sentence with a letter or a digit. Write some text.", file=name)
        )
    return replace(script, name=name)


def parse_script(text: str, markdown: bool, language: str | None) -> Script:
    """The same for a text; the name stays empty, and there may be no lines. Raises ScriptError for the language."""
    passages = list((markdown_passages if markdown else text_passages)(cleaned(text)))
    spoken_in = _language(language, passages)
    return Script("", spoken_in, tuple(_lines(passages, spoken_in)))


def _language(given: str | None, passages: list[Passage]) -> str:
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


# --- from passages to lines ---------------------------------------------------------------------------------------


def _lines(passages: list[Passage], language: str) -> Iterator[Line]:
    for number, passage in enumerate(passages, start=1):
        label = passage.label
        said = 0
        source_lines = _source_lines(passage)
        for sentence in split_sentences(_running_text(passage.text, language), language):
            first, said = said, said + _inked(sentence)
            if is_speakable(sentence):
                spoken = " ".join(sentence.split())
                yield Line(spoken, label, passage.paragraph, passage.heading, source_lines[first], number)
                label = ""


def _inked(text: str) -> int:
    """Number of characters that are no white space: split_sentences keeps them all, so the count finds a sentence."""
    return sum(not character.isspace() for character in text)


def _source_lines(passage: Passage) -> list[int]:
    """For each character that is no white space, the line of the file on which it stands."""
    numbers: list[int] = []
    line = passage.source_line
    for character in passage.text:
        line += character == BREAK
        if character != BREAK and not character.isspace():
            numbers.append(line)
    return numbers


def _running_text(text: str, language: str) -> str:
    """Line breaks within a Markdown paragraph become spaces; beside Japanese and Chinese characters they vanish."""
    if language in ("Japanese", "Chinese"):
        text = re.sub(rf"(?<=[^\x00-\x7f]){BREAK}|{BREAK}(?=[^\x00-\x7f])", "", text)
    return text.replace(BREAK, " ")
