"""Script files of every kind that narrators have: what is spoken, what only names a file, what is refused."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.script.errors import ScriptError
from server.script.lines import Line, parse_script, read_script

SAMPLES = Path(__file__).parents[2] / "samples"


def spoken(text: str, markdown: bool = False, language: str | None = None) -> list[str]:
    return [line.text for line in parse_script(text, markdown, language).lines]


def labels(text: str, markdown: bool = False) -> list[str]:
    return [line.label_source for line in parse_script(text, markdown, "ko").lines]


# --- plain text ---------------------------------------------------------------------------------------------------


def test_a_heading_labels_the_first_sentence_after_it_and_is_not_spoken() -> None:
    script = parse_script("# 인트로\n안녕하세요. 반갑습니다.\n\n\n둘째 문단.", False, None)
    assert script.language == "Korean"
    assert script.lines == (
        Line("안녕하세요.", "인트로", 1, "인트로", 2),
        Line("반갑습니다.", "", 1, "인트로", 2),
        Line("둘째 문단.", "", 2, "인트로", 5),
    )


@pytest.mark.parametrize("markdown", [False, True])
def test_a_hash_without_a_space_is_spoken(markdown: bool) -> None:
    """`#1` and a hashtag at the start of a line were taken for headings and left out of the recording."""
    assert spoken("#1 순위는 서울입니다.\n\n#해시태그 하나.", markdown) == ["#1 순위는 서울입니다.", "#해시태그 하나."]
    assert spoken("## 제목 ##\n하나.\n#\n둘.", markdown) == ["하나.", "둘."]
    assert labels("# C#\n하나.", markdown) == ["C#"]


def test_a_label_in_brackets_wins_over_the_heading() -> None:
    assert labels("# 제목\n[본문시작] 하나. 둘.\n셋.") == ["본문시작", "", ""]
    assert labels("[요약]\n\n하나.") == ["요약"]
    assert spoken("[요약] 하나.") == ["하나."]


def test_brackets_within_a_line_are_spoken() -> None:
    assert spoken("이것은 [중요] 합니다.") == ["이것은 [중요] 합니다."]


def test_a_line_break_ends_a_sentence_in_a_text_file() -> None:
    assert spoken("마침표 없는 줄\n다음 줄") == ["마침표 없는 줄", "다음 줄"]


def test_comments_and_lines_without_a_word_are_not_spoken() -> None:
    assert spoken("// 메모\n하나.\n---\n***\n…\n  // 또 메모\n둘.\nhttps://a.kr 을 보세요.") == [
        "하나.",
        "둘.",
        "https://a.kr 을 보세요.",
    ]


def test_a_rule_begins_a_paragraph_and_a_comment_does_not() -> None:
    lines = parse_script("하나.\n// 메모\n둘.\n---\n셋.", False, "ko").lines
    assert [line.paragraph for line in lines] == [1, 1, 2]


def test_a_label_waits_for_a_sentence_that_can_be_spoken() -> None:
    assert parse_script("[인사]\n…\n네.", False, "ko").lines == (Line("네.", "인사", 1, "", 3),)


def test_text_is_composed_and_freed_of_invisible_characters() -> None:
    text = unicodedata.normalize("NFD", "한글") + "\u200b\ufeff \x07\u00ad입니다.\u3164"
    assert spoken(text) == ["한글 입니다."]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_count_the_same(line_end: str) -> None:
    lines = parse_script(line_end.join(["하나.", "", "둘."]), False, "ko").lines
    assert [(line.text, line.source_line, line.paragraph) for line in lines] == [("하나.", 1, 1), ("둘.", 3, 2)]


# --- Markdown -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "sentences"),
    [
        ("한 문단의\n두 줄입니다.", ["한 문단의 두 줄입니다."]),
        ("今日は\n晴れです。", ["今日は晴れです。"]),
        ("두 칸 띄움  \n다음 줄", ["두 칸 띄움", "다음 줄"]),
        ("**굵게** _기울임_ ~~취소~~ `코드`.", ["굵게 기울임 취소 코드."]),
        ('**"정말?"**이라고 했다.', ['"정말?"이라고 했다.']),
        (
            "[링크](https://a.kr/b_(c)) [참조][1] <https://a.kr> 끝.\n\n[1]: https://b.kr",
            ["링크 참조 https://a.kr 끝."],
        ),
        ("![그림](a.png) 설명.[^1]\n\n[^1]: 각주", ["설명."]),
        ("- 하나.\n- [x] 둘.\n* 셋.\n1. 넷.", ["하나.", "둘.", "셋.", "1. 넷."]),
        ("> 인용\n> 문장.", ["인용 문장."]),
        ("하나.<!-- 주석\n\n주석 -->둘.", ["하나.", "둘."]),
        ("---\ntitle: 제목\n---\n본문.", ["본문."]),
        ("본문.\n\n---\n\n끝.", ["본문.", "끝."]),
        ("하나.\n---\n둘.", ["하나.", "둘."]),
        ("```python\nprint('아니')\n```\n네.", ["네."]),
        ("| 과일 | 값 |\n|---|:-:|\n| 배 | 3 |", ["과일, 값", "배, 3"]),
        ("<b>굵게</b> A&amp;B 하나<br>둘", ["굵게 A&B 하나", "둘"]),
        ("5 * 3 * 2 = 30, 5*3*2, snake_case_name.", ["5 * 3 * 2 = 30, 5*3*2, snake_case_name."]),
        (r"\*별\* \# 우물", ["*별* # 우물"]),
    ],
)
def test_markdown_is_read_for_its_words(source: str, sentences: list[str]) -> None:
    assert spoken(source, markdown=True) == sentences


def test_markdown_headings_and_labels_name_the_next_sentence() -> None:
    text = "Title\n=====\nOne.\n\n## Two **b** ##\n\n[x y] Three. Four.\n\n[link](u) five."
    assert [(line.text, line.label_source, line.heading) for line in parse_script(text, True, "en").lines] == [
        ("One.", "Title", "Title"),
        ("Three.", "x y", "Two b"),
        ("Four.", "", "Two b"),
        ("link five.", "", "Two b"),
    ]


def test_a_sentence_knows_the_line_of_the_file_that_it_begins_on() -> None:
    text = "---\na: b\n---\n<!--\nx -->\nOne *two\nthree*. Four\nfive. Six."
    assert [(line.text, line.source_line) for line in parse_script(text, True, "en").lines] == [
        ("One two three.", 6),
        ("Four five.", 7),
        ("Six.", 8),
    ]


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet='가a1. \n#[]*_`>|-<!\\\u200b…"(/', max_size=80), st.booleans())
def test_any_text_gives_lines_that_can_be_spoken(text: str, markdown: bool) -> None:
    numbers = []
    for line in parse_script(text, markdown, "ko").lines:
        assert any(character.isalnum() for character in line.text)
        assert line.text == " ".join(line.text.split())
        assert 1 <= line.source_line <= text.count("\n") + 1
        numbers.append((line.paragraph, line.source_line))
    assert numbers == sorted(numbers)


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("안녕하세요. 오늘은 날씨가 좋습니다.", "utf-8"),
        ("안녕하세요.", "utf-8-sig"),
        ("안녕하세요.", "utf-16"),
        ("안녕하세요.", "utf-32"),
        ("안녕하세요. 반갑습니다, 여러분!", "cp949"),
        ("네.", "cp949"),
        ("# 인트로\nAI 툴 5가지, 커피 한 잔.", "cp949"),
        ("똠방각하와 펲시콜라.", "cp949"),
        ("こんにちは。今日は晴れです。", "cp932"),
        ("カフェに行きました。", "euc_jp"),
        ("大家好，欢迎回来。", "gb18030"),
        ("今天我們來看新版本，非常好看。", "big5"),
        ("Привет, друзья.", "cp1251"),
        ("Здравствуйте, друзья.", "koi8_r"),
        ("Ça va être très étrange.", "cp1252"),
        ("Größe und Übermut.", "cp1252"),
        ("A situação é ótima, José.", "cp1252"),
    ],
)
def test_a_file_is_read_in_the_encoding_it_was_saved_in(tmp_path: Path, text: str, encoding: str) -> None:
    """Even a few characters of CP949, which general detectors take for Chinese or Cyrillic."""
    path = tmp_path / "script.txt"
    path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    expected = [line.text for line in parse_script(text, False, None).lines]
    assert [line.text for line in read_script(path).lines] == expected


def test_the_ending_decides_how_a_file_is_read(tmp_path: Path) -> None:
    for name, sentences in (("a.txt", ["*하나", "둘*"]), ("A.MD", ["하나 둘"])):
        (tmp_path / name).write_text("*하나\n둘*", "utf-8")
        script = read_script(tmp_path / name, "ko")
        assert (script.name, [line.text for line in script.lines]) == (name, sentences)


def test_a_name_in_loose_jamo_is_found_by_its_composed_spelling(tmp_path: Path) -> None:
    (tmp_path / unicodedata.normalize("NFD", "대본.txt")).write_text("네.", "utf-8")
    assert read_script(tmp_path / "대본.txt").name == "대본.txt"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("missing.txt", None, r"There is no file .*missing\.txt"),
        ("script.docx", b"PK", r"script\.docx is not a script that can be read: \.txt and \.md are"),
        ("script", b"x", r"script is not a script"),
        ("empty.txt", b"", r"There is nothing to speak in empty\.txt"),
        ("marks.md", b"# Heading\n\n---\n...", r"There is nothing to speak in marks\.md"),
        ("image.txt", bytes(range(256)) * 20, r"image\.txt cannot be read as text"),
        ("cut.txt", "한국어 문장이 길게 이어집니다.".encode()[:-2] + b"\xff", r"cut\.txt cannot be read as text"),
        ("huge.txt", b"a" * 5_000_001, r"huge\.txt has 5000001 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_a_sentence(
    tmp_path: Path, name: str, data: bytes | None, said: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ScriptError, match=said):
        read_script(tmp_path / name)


def test_a_folder_and_an_unknown_language_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="is a folder"):
        read_script(tmp_path)
    with pytest.raises(ScriptError, match="Klingon is not one of the ten: Korean"):
        parse_script("nuq", False, "Klingon")


@pytest.mark.parametrize(
    ("name", "language", "count"), [("sample_ko.txt", "Korean", 10), ("sample_en.md", "English", 9)]
)
def test_the_samples_are_read_as_they_look(name: str, language: str, count: int) -> None:
    script = read_script(SAMPLES / name)
    assert (script.language, len(script.lines)) == (language, count)
    assert sum(bool(line.label_source) for line in script.lines) == 4
    assert all(line.text[-1] in ".?!" for line in script.lines)
