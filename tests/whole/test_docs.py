"""The papers agree with the programs, and the pages of both languages with each other."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from babel.messages.pofile import read_po

import client.errors
import server.commands.serve
import server.errors
from server.contract.codes import ErrorCode
from server.contract.env_names import CLIENT_NAMES
from server.settings import NAMES, validated
from server.terminal.envfile import read_env_file
from server.terminal.troubleshooting import ENTRIES, entry_for

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LANGUAGES = ("en", "ko")
READMES = {"en": ROOT / "README.md", "ko": ROOT / "README.ko.md"}
PAGES = {
    "start.md",
    "your-voice.md",
    "scripts.md",
    "the-night.md",
    "editors.md",
    "settings.md",
    "service.md",
    "http-api.md",
    "troubleshooting.md",
    "glossary.md",
}
NARRATORS_PAGES = ("start.md", "your-voice.md", "scripts.md", "the-night.md", "editors.md", "glossary.md")
MAX_PAGE_BYTES = 20_000
PROGRAMS = (
    ("narrate", "client", ("run", "split", "say", "status", "resume")),
    ("voice-server", "server", ("serve", "init", "doctor")),
)


def all_papers() -> list[Path]:
    """Every Markdown file that a reader may open."""
    return sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(language: str) -> str:
    """README and all pages of one language."""
    return "\n".join(path.read_text("utf-8") for path in (READMES[language], *sorted((DOCS / language).glob("*.md"))))


class Heading(NamedTuple):
    level: int
    text: str
    body: str
    """Everything up to the next heading."""


@cache
def headings(path: Path) -> list[Heading]:
    """The page's headings in their order; lines that begin with # inside of a code block are none."""
    found: list[tuple[int, str, list[str]]] = []
    fence = ""
    for line in path.read_text("utf-8").splitlines():
        mark = re.match(r" *(```+)", line)
        if mark and (not fence or line.strip() == fence):
            fence = "" if fence else mark[1]
        match = None if fence else re.match(r"(#+) (.+)", line)
        if match:
            found.append((len(match[1]), match[2].strip(), []))
        elif found:
            found[-1][2].append(line)
    return [Heading(level, text, "\n".join(body)) for level, text, body in found]


def anchors(path: Path) -> set[str]:
    """The names under which GitHub lets a link find the headings of a page."""
    names: set[str] = set()
    for heading in headings(path):
        name = re.sub(r"[^\w\- ]", "", heading.text.casefold()).replace(" ", "-")
        names.add(next(each for each in (name, *(f"{name}-{i}" for i in range(1, 99))) if each not in names))
    return names


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL))


# ---- Settings ----


def test_every_setting_is_explained_in_the_example_and_nothing_else_is() -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    named = re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", text, re.MULTILINE)
    assert set(named) - {"HF_ENDPOINT", "HF_HUB_OFFLINE"} == {*NAMES, *CLIENT_NAMES}
    for name in named:
        before = text[: re.search(rf"^(?:# )?{name}=", text, re.MULTILINE).start()]  # type: ignore[union-attr]
        assert before.rstrip().splitlines()[-1].startswith("#"), f"{name} has no sentence above it"


def test_the_examples_defaults_are_the_programs(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    switched_on = re.sub(r"^# (?=[A-Z][A-Z_]+=)", "", text, flags=re.MULTILINE)
    (tmp_path / ".env").write_text(switched_on, "utf-8")
    values = {name.lower(): value for name, value in read_env_file(tmp_path / ".env").items() if name in NAMES}
    shown = {name: values.pop(name) for name in ("ref_audio", "ref_text")}
    assert shown["ref_audio"] == "C:\\voices\\me.wav"
    assert validated(values) == validated({})


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_setting_is_in_the_table_of_settings(language: str) -> None:
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / language / "settings.md").read_text("utf-8"), re.MULTILINE)
    assert {*NAMES, *CLIENT_NAMES} <= {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}


PASSED_ON = {"HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN", "PYTORCH_CUDA_ALLOC_CONF"}
"""Settings of the libraries below that the pages advise."""


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pages_set_no_setting_that_is_not_there(language: str) -> None:
    used = set(re.findall(r"`([A-Z][A-Z_]+)=", text_of(language)))
    assert used <= {*NAMES, *CLIENT_NAMES, *PASSED_ON}


# ---- Commands and their options ----


HELP_OF_EACH = """
import contextlib, io, json, runpy, sys
helps = []
for command in sys.argv[2:]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        words, sys.argv = sys.argv, [sys.argv[1], command, "--help"]
        try:
            runpy.run_module(sys.argv[0], run_name="__main__")
        finally:
            sys.argv = words
    helps.append(said.getvalue())
print(json.dumps(helps))
"""


@cache
def helps(module: str) -> dict[str, str]:
    """The help of each command, from one interpreter: its start takes the time."""
    (commands,) = (commands for _, name, commands in PROGRAMS if name == module)
    words = [sys.executable, "-c", HELP_OF_EACH, module, *commands]
    ended = subprocess.run(words, capture_output=True, encoding="utf-8", cwd=ROOT, check=True)
    return dict(zip(commands, json.loads(ended.stdout), strict=True))


def options(module: str, command: str) -> frozenset[str]:
    found = frozenset(re.findall(r"--[a-z-]+", helps(module)[command]))
    assert "--help" in found, "the help of another command, or of none"
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_command_is_on_a_page(language: str) -> None:
    text = text_of(language)
    for program, _, commands in PROGRAMS:
        for command in commands:
            assert f"{program} {command}" in text
    for script in ("demo", "test", "install"):
        assert f"python scripts/{script}.py" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_commands_of_the_first_minute_are_in_the_readme(language: str) -> None:
    text = READMES[language].read_text("utf-8")
    for command in ("python scripts/demo.py", "python scripts/test.py"):
        assert f"`{command}`" in text
        assert f"`{command.replace('python', 'py -3.12')}`" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_option_is_on_the_page_of_settings(language: str) -> None:
    named = set(re.findall(r"`(--[a-z-]+)", (DOCS / language / "settings.md").read_text("utf-8")))
    ours = {each for _, module, commands in PROGRAMS for command in commands for each in options(module, command)}
    assert named == ours | {"--debug"}  # --debug belongs to the programs themselves


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_command_is_shown_with_an_option_that_it_does_not_have(language: str) -> None:
    known = {program: (module, commands) for program, module, commands in PROGRAMS}
    used = re.findall(r"(narrate|voice-server) ([a-z]+)([^\n`|]*)", text_of(language))
    assert used
    for program, command, rest in used:
        module, commands = known[program]
        if command in commands:
            assert set(re.findall(r"--[a-z-]+", rest)) <= options(module, command) | {"--debug"}, (command, rest)


@pytest.mark.parametrize("path", all_papers(), ids=name_of)
def test_every_script_that_is_named_is_there(path: Path) -> None:
    named = re.findall(r"scripts[/\\][\w/\\]*\w+\.(?:py|ps1|service|json)", path.read_text("utf-8"))
    for script in named:
        assert (ROOT / script.replace("\\", "/")).is_file(), script


PAPERS_THAT_NAME_MODULES = [ROOT / "ARCHITECTURE.md", *sorted((DOCS / "dev").rglob("*.md"))]


@pytest.mark.parametrize("path", PAPERS_THAT_NAME_MODULES, ids=name_of)
def test_every_module_and_every_test_that_developers_are_told_of_is_there(path: Path) -> None:
    """A name may be the end of a path: `cut/find.py`, `test_door.py`."""
    folders = ("client", "scripts", "server", "tests")
    there = ["/" + name_of(file) for folder in folders for file in (ROOT / folder).rglob("*.py")]
    for named in set(re.findall(r"[\w./]*\w\.py\b", path.read_text("utf-8"))):
        assert any(each.endswith("/" + named) for each in there), named


@cache
def files_of_the_demo() -> tuple[str, ...]:
    ended = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "client", "split", "samples/sample_ko.txt"],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        check=True,
    )
    return tuple(re.findall(r"\S+\.wav", ended.stdout))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_readme_shows_the_files_that_the_demo_makes(language: str) -> None:
    made = files_of_the_demo()
    assert len(made) > 1
    assert tuple(re.findall(r"\S+\.wav", READMES[language].read_text("utf-8"))) == made


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_error_code_is_in_the_api(language: str) -> None:
    assert set(re.findall(r"`([a-z_]+)`", (DOCS / language / "http-api.md").read_text("utf-8"))) >= set(ErrorCode)


# ---- Pages and links ----


@pytest.mark.parametrize("path", all_papers(), ids=name_of)
def test_every_link_within_the_project_leads_to_a_file_and_a_heading(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text("utf-8"))):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.is_file() and there.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(there), target


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_on_the_map_and_leads_back_to_it(language: str) -> None:
    folder = DOCS / language
    start = (folder / "start.md").read_text("utf-8")
    other = "ko" if language == "en" else "en"
    for page in PAGES:
        head = (folder / page).read_text("utf-8").splitlines()[2]
        assert f"(../{other}/{page})" in head, page
        if page != "start.md":
            assert f"]({page})" in start, page
            assert "](start.md#" in head, page


def test_every_page_for_developers_is_on_the_map() -> None:
    for page in (DOCS / "dev").rglob("*.md"):
        for language in LANGUAGES:
            assert f"](../dev/{page.relative_to(DOCS / 'dev').as_posix()}" in text_of(language), page.name


@pytest.mark.parametrize(("language", "most_bytes"), [("en", 8_000), ("ko", 11_000)])
def test_the_readme_stays_a_door(language: str, most_bytes: int) -> None:
    assert len(READMES[language].read_bytes()) <= most_bytes


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_grows_too_long_to_be_found_in(language: str) -> None:
    for path in (DOCS / language).glob("*.md"):
        assert len(path.read_bytes()) <= MAX_PAGE_BYTES, path.name


def test_both_languages_have_the_same_pages() -> None:
    for language in LANGUAGES:
        assert {path.name for path in (DOCS / language).iterdir()} == PAGES


@pytest.mark.parametrize("page", sorted(PAGES))
def test_both_languages_have_the_same_headings_tables_and_code_blocks(page: str) -> None:
    english, korean = (headings(DOCS / language / page) for language in LANGUAGES)
    assert [each.level for each in english] == [each.level for each in korean]
    for ours, theirs in zip(english, korean, strict=True):
        for sign in (r"^\|", r"^ *```", r"^ *- ", r"^ *\d\. "):
            count = [len(re.findall(sign, each.body, re.MULTILINE)) for each in (ours, theirs)]
            assert count[0] == count[1], (ours.text, sign, count)


def test_both_readmes_have_the_same_headings() -> None:
    english, korean = (headings(READMES[language]) for language in LANGUAGES)
    assert [each.level for each in english] == [each.level for each in korean]


# ---- The words that narrators meet ----

NEVER_A_NARRATORS_WORD = re.compile(r"dumm(?:y|ies)|fingerprint|worker|prompt|더미|지문|워커|프롬프트", re.IGNORECASE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_narrators_pages_use_no_word_of_the_workshop(language: str) -> None:
    for path in (READMES[language], *(DOCS / language / page for page in NARRATORS_PAGES)):
        assert NEVER_A_NARRATORS_WORD.findall(path.read_text("utf-8")) == [], path.name


CATALOGUE = ROOT / "server/terminal/locale/ko/LC_MESSAGES/messages.po"


@cache
def sentences() -> list[tuple[str, str]]:
    """What the programs say, in English and in Korean, without places and the names of settings."""
    with CATALOGUE.open("rb") as file:
        pairs = [(str(each.id), str(each.string)) for each in read_po(file) if each.id]
    english, korean = (
        [re.sub(r"\{\w*\}|[A-Z]+_[A-Z_]+", "", text) for text in each] for each in zip(*pairs, strict=True)
    )
    return list(zip(english, korean, strict=True))


def test_the_programs_say_no_word_of_the_workshop() -> None:
    """Without exceptions: the owner of a server is a narrator, too."""
    assert len(sentences()) > 300
    for pair in sentences():
        assert NEVER_A_NARRATORS_WORD.findall(" ".join(pair)) == [], pair


def test_the_recording_of_a_voice_has_one_name_on_screens_and_pages() -> None:
    other_names = re.compile(r"reference (?:audio|recording|clip)|기준 음성", re.IGNORECASE)
    for pair in sentences():
        assert other_names.findall(" ".join(pair)) == [], pair
    for language in LANGUAGES:
        assert other_names.findall(text_of(language)) == []


def test_a_sentence_that_names_a_page_names_the_readers_own() -> None:
    named = [(pages, korean) for english, korean in sentences() if (pages := re.findall(r"docs/[\w./-]+\.md", english))]
    assert len(named) > 3
    for pages, korean in named:
        assert re.findall(r"docs/[\w./-]+\.md", korean) == [page.replace("/en/", "/ko/") for page in pages]
        for page in pages:
            assert (ROOT / page).is_file(), page
    assert not [pair for pair in sentences() if "README" in " ".join(pair)], "the README is a door and holds no steps"


# ---- Troubles ----

SYMPTOMS = (
    "device-side assert",
    "latin-1",
    "Torch not compiled with CUDA",
    "No module named",
    "Flash",
    "out of memory",
    "HF_ENDPOINT",
    "bfloat16",
)
"""The troubles of the first server's guide."""


def entries(language: str) -> list[Heading]:
    return [each for each in headings(DOCS / language / "troubleshooting.md") if each.level == 3]


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_trouble_of_the_first_guide_has_an_entry(language: str) -> None:
    for symptom in SYMPTOMS:
        found = [each for each in entries(language) if symptom.casefold() in f"{each.text}\n{each.body}".casefold()]
        assert found, symptom


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_entry_has_something_to_type_or_to_choose(language: str) -> None:
    assert len(entries(language)) > 30
    for entry in entries(language):
        assert re.search(r"`[^`]+`", entry.body), entry.text


OF_LIBRARIES = {"no kernel image is available", "Flash attention is not available", "flash-attn is not installed"}
"""What entries quote that no sentence of ours says."""


@cache
def said_by_programs() -> list[str]:
    """Every string in the programs' and scripts' source, and the Korean ones of the catalogue."""
    said = []
    for folder in ("server", "client", "scripts"):
        for file in (ROOT / folder).rglob("*.py"):
            if file.name == "troubleshooting.py":  # holds the headings themselves
                continue
            nodes = ast.walk(ast.parse(file.read_text("utf-8")))
            said += [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for catalogue in (ROOT / "server").rglob("messages.po"):
        said += re.findall(r'^msgstr "(.*)"$', catalogue.read_text("utf-8"), re.MULTILINE)
    # A page writes `...` or an example's number where a sentence has a place for a value.
    return [re.sub(r"\{\w*\}|\d+", "*", sentence) for sentence in said]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_an_entry_quotes_is_really_said(language: str) -> None:
    quotes = [quote for entry in entries(language) for quote in re.findall(r'"([^"]{2,})"', entry.text)]
    assert len(quotes) > 15
    for quote in set(quotes) - OF_LIBRARIES:
        pieces = re.sub(r"\.\.\.|\d+", "*", quote).split("*")
        pattern = re.compile(".*".join(re.escape(piece) for piece in pieces))
        assert any(pattern.search(sentence) for sentence in said_by_programs()), quote


def test_every_error_that_names_an_entry_is_one_of_ours() -> None:
    modules = (client.errors, server.errors, server.commands.serve)
    for name in ENTRIES:
        exceptions = [getattr(module, name) for module in modules if hasattr(module, name)]
        assert name in set(ErrorCode) or [issubclass(each, Exception) for each in exceptions] == [True], name


def test_every_entry_that_an_error_names_is_a_heading_in_both_languages() -> None:
    english, korean = ([entry.text for entry in entries(language)] for language in LANGUAGES)
    for name, entry in ENTRIES.items():
        assert entry.english in english, name
        assert english.index(entry.english) == korean.index(entry.korean), name


def test_a_code_is_looked_up_before_a_class_and_a_class_before_its_bases() -> None:
    held = [each.__name__ for each in client.errors.FileHeld.__mro__]
    assert entry_for("queue_full", *held) == ENTRIES["FileHeld"] != ENTRIES["DiskUnusable"]
    assert entry_for(ErrorCode.KANJI_UNREADABLE, "LineRefused") == ENTRIES["kanji_unreadable"]
    assert entry_for("queue_full", "Exception") is None
