"""Collects every sentence that a person can see and compiles the Korean ones.

    python scripts/messages.py          add new sentences to messages.po (untranslated), drop unused ones, compile
    python scripts/messages.py --check  change nothing; exit code 1 and a list if something is missing

Sentences are the literals in t("...") and in N_("...") of server/ and client/, and typer's own words.
Needs Babel (the extra `test`).
"""

from __future__ import annotations

import gettext
import io
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import typer
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir, extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
PO = ROOT / "server/terminal/locale/ko/LC_MESSAGES/messages.po"
MO = PO.with_suffix(".mo")
KEYWORDS = {"t": None, "_": None, "N_": None}
PLACE = re.compile(r"{[^{}]*}")


def collect() -> dict[str, list[str]]:
    """Sentence to the places where it stands."""
    found: dict[str, list[str]] = {}
    for package in ("server", "client"):
        for file, line, message, _, _ in extract_from_dir(ROOT / package, [("**.py", "python")], keywords=KEYWORDS):
            found.setdefault(_single(message), []).append(f"{package}/{file}:{line}")
    # What typer prints itself, through the same gettext domain.
    core = Path(typer.__file__).parent / "core.py"
    for _, message, _, _ in extract_from_file("python", core, keywords={"_": None}):
        found.setdefault(_single(message), []).append("typer")
    return found


def _single(message: str | tuple[str, ...]) -> str:
    assert isinstance(message, str), f"plural forms are not used here: {message}"
    return message


def read_catalog() -> Catalog:
    if not PO.exists():
        return Catalog(locale="ko")
    with PO.open("rb") as file:
        return read_po(file, locale="ko")


def problems(catalog: Catalog, sentences: dict[str, list[str]]) -> list[str]:
    """What is missing or wrong, one line each."""
    found = []
    for sentence, places in sentences.items():
        message = catalog.get(sentence)
        where = places[0]
        if message is None or not message.string or message.fuzzy:
            found.append(f"{where}: no Korean for {sentence!r}")
            continue
        if sorted(PLACE.findall(sentence)) != sorted(PLACE.findall(message.string)):
            found.append(f"{where}: other places in the Korean of {sentence!r}: {message.string!r}")
        for text in (sentence, message.string):
            try:
                text.encode("cp949")
            except UnicodeEncodeError as error:
                found.append(f"{where}: a cp949 console cannot show {text[error.start]!r} of {text!r}")
    unused = [message.id for message in catalog if message.id and message.id not in sentences]
    found += [f"no longer used: {sentence!r}" for sentence in unused]
    if not MO.exists() or entries(MO.read_bytes()) != entries(compiled(catalog)):
        found.append("messages.mo is not what messages.po compiles to; run scripts/messages.py")
    return found


def entries(mo: bytes) -> dict[str, str]:
    """Sentence to Korean, without the header: that names the version of Babel."""
    stored: dict[str, str] = vars(gettext.GNUTranslations(io.BytesIO(mo)))["_catalog"]
    return {sentence: korean for sentence, korean in stored.items() if sentence}


def compiled(catalog: Catalog) -> bytes:
    out = io.BytesIO()
    write_mo(out, catalog)
    return out.getvalue()


def update(catalog: Catalog, sentences: dict[str, list[str]]) -> Catalog:
    fresh = Catalog(
        locale="ko",
        project="overnight-narrator",
        version="1",
        charset="utf-8",
        fuzzy=False,
        header_comment="# Korean sentences of both programs; scripts/messages.py keeps the list and compiles it.",
        msgid_bugs_address="-",
        last_translator="overnight-narrator authors",
        language_team="ko",
    )
    # A fixed date: a catalogue that did not change must compile to the same bytes.
    fresh.creation_date = fresh.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    for sentence, places in sorted(sentences.items(), key=lambda item: item[1][0]):
        old = catalog.get(sentence)
        fresh.add(sentence, old.string if old else "", auto_comments=[places[0].split(":")[0]])
    return fresh


def main() -> int:
    sentences = collect()
    if "--check" not in sys.argv:
        catalog = update(read_catalog(), sentences)
        PO.parent.mkdir(parents=True, exist_ok=True)
        out = io.BytesIO()
        write_po(out, catalog, width=0)
        PO.write_bytes(out.getvalue())
        MO.write_bytes(compiled(read_catalog()))
    found = problems(read_catalog(), sentences)
    print("\n".join(found) or f"{len(sentences)} sentences, all in Korean too")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
