"""Names that work on every system, for every label."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.script.errors import NameRefused
from server.script.names import label_from, line_file_names, safe_project_name


@pytest.mark.parametrize(
    ("label", "text", "name"),
    [
        ("요약", "안녕하세요.", "001_요약.wav"),
        ("본문 시작", "", "001_본문_시작.wav"),
        ("", "안녕하세요, 여러분. 오늘은 봄입니다.", "001_안녕하세요_여러분_오늘은.wav"),
        ("", "대한민국헌법재판소결정문을 낭독합니다", "001_대한민국헌법재판소결정문을.wav"),
        ("", "버전 2.0을 3,500원에 팝니다.", "001_버전_2.0을_3500원에.wav"),
        ("", "Don't stop me now, please.", "001_Dont_stop_me.wav"),
        ("", "今日は晴れです。散歩に行きましょう。", "001_今日は晴れです.wav"),
        ("", "…", "001.wav"),
        ("🎉", "", "001.wav"),
        ("50% & <A/B>: C:\\x~#'", "", "001_50_A_B_C_x.wav"),
        ("CON", "", "001_CON.wav"),
        ("끝. ", "", "001_끝.wav"),
        (unicodedata.normalize("NFD", "한글"), "", "001_한글.wav"),
        ("㈜가나 1️⃣ 👍🏽", "", "001_㈜가나_1.wav"),
    ],
)
def test_a_line_is_named_by_its_label_or_its_first_words(label: str, text: str, name: str) -> None:
    assert line_file_names([label], [text]) == [name]


def test_numbers_are_padded_to_three_and_to_more_for_long_scripts() -> None:
    assert line_file_names(["a"] * 2, [""] * 2) == ["001_a.wav", "002_a.wav"]
    assert line_file_names([""] * 1000, [""] * 1000)[0] == "0001.wav"


def test_labels_and_texts_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        line_file_names(["a"], [])


def test_a_long_label_keeps_whole_words() -> None:
    (name,) = line_file_names(["How we moved the whole family to the seaside in a week"], [""])
    assert name == "001_How_we_moved_the_whole_family_to_the.wav"


def test_a_cut_takes_no_character_from_its_marks() -> None:
    old_hangul = "\u1112\u119e\u11ab"  # one syllable of three conjoining jamo, which NFC leaves apart
    (name,) = line_file_names([old_hangul * 13 + old_hangul], [""])
    assert name.removesuffix(".wav").removeprefix("001_") == old_hangul * 12


UNSAFE = set("<>:\"/\\|?*%#&'~ ")


@settings(deadline=None, max_examples=500)
@given(st.lists(st.tuples(st.text(max_size=200), st.text(max_size=200)), max_size=5))
def test_every_name_is_safe_short_composed_and_unlike_the_others(pairs: list[tuple[str, str]]) -> None:
    names = line_file_names([label for label, _ in pairs], [text for _, text in pairs])
    assert len({name.casefold() for name in names}) == len(pairs)
    for name in names:
        assert len(name.encode()) <= 120
        assert unicodedata.is_normalized("NFC", name)
        assert_safe(name)
        assert not name.removesuffix(".wav").endswith((".", "_"))


def assert_safe(name: str) -> None:
    assert not UNSAFE & set(name)
    assert all(unicodedata.category(character)[0] != "C" for character in name)
    assert name.strip(" .") == name


@settings(deadline=None)
@example("\u0fb9")  # one character that NFC takes apart into two marks: the first was dropped, the second stayed
@given(st.text(max_size=200))
def test_a_label_from_a_text_is_a_label_already(text: str) -> None:
    label = label_from(text)
    assert len(label) <= 24
    assert line_file_names([label], [""]) == [f"001_{label}.wav" if label else "001.wav"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("유튜브인트로", "유튜브인트로"),
        ("유튜브 인트로 #1", "유튜브_인트로_1"),
        ("CON", "CON_"),
        ("nul.txt", "nul_txt"),
        ("lpt9", "lpt9_"),
        ("com¹", "com¹_"),
        ("v1.2", "v1.2"),
        (".hidden.", "hidden"),
        ("a..b", "a_b"),
    ],
)
def test_a_project_name_is_made_safe(name: str, safe: str) -> None:
    assert safe_project_name(name) == safe


@pytest.mark.parametrize(
    "name", ["", "  ", ".", "..", "../x", "a/b", "\\x", "C:", "c:x", "/etc", "🎉", "...", "\x00", "???"]
)
def test_a_project_name_that_is_a_path_or_nothing_is_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(NameRefused, match=r"^The project name .*\.$"):
        safe_project_name(name)


def test_two_long_project_names_stay_two() -> None:
    one, other = safe_project_name("가" * 60 + "1"), safe_project_name("가" * 60 + "2")
    assert one != other
    assert len(one.encode()) <= 80


@settings(deadline=None, max_examples=500)
@given(st.text(max_size=150))
def test_a_safe_project_name_is_safe_and_stays_as_it_is(name: str) -> None:
    try:
        safe = safe_project_name(name)
    except NameRefused:
        return
    assert_safe(safe)
    assert 0 < len(safe.encode()) <= 80
    assert unicodedata.is_normalized("NFC", safe)
    assert safe_project_name(safe) == safe
