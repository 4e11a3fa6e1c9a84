"""One table, three readings: syllables on average, units for a ratio, and a bound that speech does not reach."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.engines.qwen.frame_cap import frame_cap
from server.takes.dummy import dummy_for, join
from server.text.languages import LANGUAGES
from server.text.length import max_syllables, spoken_units, spoken_weight


@given(text=st.text(max_size=60), language=st.sampled_from(sorted(LANGUAGES)))
def test_the_weight_of_any_text_is_a_number_not_below_zero(text: str, language: str) -> None:
    assert 0 <= spoken_weight(text, language) < 4 * len(text) + 4


@pytest.mark.parametrize(
    ("language", "text", "syllables"),
    [
        ("ko", "그리고 잠시 쉬어가겠습니다.", 12),
        ("Korean", "네...", 1),
        ("ja", "きょうは、しゃしん。", 6),
        ("zh", "现在我们去歇歇脚。", 8),
        ("en", "And now we rest.", 4),
        ("en", "The FBI came home.", 6),
        ("de", "Und nun verweilen wir kurz am Leuchtturm.", 10),
        ("fr", "Et maintenant", 4),
        ("ru", "А теперь мы передохнём у старого маяка.", 15),
        ("es", "María está en el país.", 9),
        ("it", "Perché no?", 3),
        ("pt", "E agora", 4),
        ("ko", "♪ — ~", 0),
        ("ko", "ㅋㅋㅋ", 1.5),
        ("ko", "50%", 5),
        ("en", "Welcome home.", 3),
        ("en", "He walked and wanted pages.", 7),
        ("en", "UNESCO", 3),
        ("ru", "в Москве", 3),
        ("ru", "СССР", 4),
        ("zh", "时々", 2),
        ("ja", "時々", 3.6),
    ],
)
def test_words_weigh_their_syllables(language: str, text: str, syllables: float) -> None:
    assert spoken_weight(text, language) == pytest.approx(syllables)


@pytest.mark.parametrize("language", LANGUAGES)
def test_digits_weigh_about_as_much_as_they_take_to_read(language: str) -> None:
    assert 5 <= spoken_weight("2024", language) <= 10
    assert spoken_weight("12.5", language) > spoken_weight("125", language)


def test_latin_letters_inside_korean_count() -> None:
    assert spoken_weight("AI가 YouTube에", "ko") == pytest.approx(2 + 1 + 2 + 1)


def test_the_weight_does_not_depend_on_how_a_letter_is_composed() -> None:
    assert spoken_weight("가각 e\u0301te\u0301", "ko") == spoken_weight("\u1100\u1161각 été", "ko")


KEPT = [
    ("ko", "오늘은 작은 마을의 오래된 빵집을 찾아가 보겠습니다.", 144, 228, 25.3),
    ("ko", "2024년 3월 5일, 기온이 영하 12.5도까지 떨어졌어요!", 348, 432, 32.45),
    ("ko", "AI와 GPU의 차이를 www.example.com에서 설명합니다.", 207, 291, 30.4),
    ("ko", "ㅋㅋㅋ 50%나 올랐다니...", 120, 204, 11.75),
    ("en", "Today we are going to visit an old bakery in a small village.", 165, 294, 21.3),
    ("en", "In 1985 it cost $7.50, said Dr. Smith of the FBI.", 375, 504, 39.55),
    ("en", "THE LAST WINTER", 156, 297, 22.25),
    ("ja", "東京都庁は一九九〇年に完成しました。", 252, 390, 24.3),
    ("ja", "キャンプで、しゃしんを とりました。", 114, 252, 15.3),
    ("zh", "现在我们去灯塔旁边看看2024年的新闻。", 198, 306, 21.7),
    ("de", "Das Straßenfest beginnt am 19. Februar um 20:30 Uhr.", 321, 453, 32.0),
    ("fr", "Aujourd'hui, nous allons visiter une vieille boulangerie.", 189, 324, 19.95),
    ("ru", "В 1985 году СССР участвовал в выставке.", 237, 354, 23.35),
    ("pt", "Não há coração que resista.", 87, 216, 9.85),
    ("es", "María está en el país desde 1999.", 183, 309, 21.85),
    ("it", "L'università è antichissima: 800 anni!", 201, 339, 22.15),
]
"""Language, text, frame cap of the text alone and with its dummy, units: as they were with four tables."""


@pytest.mark.parametrize(("language", "text", "alone", "padded", "units"), KEPT)
def test_no_frame_cap_has_fallen(language: str, text: str, alone: int, padded: int, units: float) -> None:
    """A cap that is too low clips slow speakers."""
    spoken, _ = join(text, dummy_for(language, text))
    assert frame_cap(text, language) >= alone
    assert frame_cap(spoken, language) >= padded


@pytest.mark.parametrize(("language", "text", "alone", "padded", "units"), KEPT)
def test_the_ratio_that_the_cut_was_fitted_with_is_the_same(
    language: str, text: str, alone: int, padded: int, units: float
) -> None:
    """Another ratio may be another cut: then CUT_VERSION goes up, and every recording is out of date."""
    assert spoken_units(text) == pytest.approx(units, abs=1e-4)


LETTERS = st.sampled_from("가뷁ㅋ あゃー漢々你aeyéßAIWXZ019.,%$²Ⅳ вёСР'")


@given(text=st.text(max_size=60) | st.text(LETTERS, max_size=60), language=st.sampled_from(sorted(LANGUAGES)))
@example(text="a b c d e f g", language="en")
@example(text="i i i", language="ko")
@example(text="W W", language="en")
@example(text="Ⅳ.:.:", language="ru")
def test_nothing_is_expected_to_take_longer_than_the_bound(text: str, language: str) -> None:
    assert spoken_weight(text, language) <= max_syllables(text, language)


@given(text=st.text(LETTERS, max_size=60), language=st.sampled_from(sorted(LANGUAGES)))
def test_the_bound_does_not_fall_below_one_figure_for_each_sign(text: str, language: str) -> None:
    digits, capitals = sum(char.isdecimal() for char in text), sum(char in "AIWXZСР" for char in text)
    small = sum(char in "aeyéßвё" for char in text)
    assert max_syllables(text, language) >= 4 * digits + 2 * capitals + 0.5 * small


def test_spoken_units_are_above_zero_for_any_text() -> None:
    # They divide.
    assert spoken_units("") > 0 and spoken_units("...") > 0
