from __future__ import annotations

import re

import pytest

from server.errors import SettingsError
from server.takes.dummy import Dummy, dummy_for, join, shared_beginning
from server.text.languages import LANGUAGES
from server.text.length import spoken_weight
from server.text.normalise import normalise

KOREAN = "  ...  그리고 잠시 쉬어가겠습니다."


def test_the_korean_dummy_is_the_one_of_the_guide() -> None:
    assert dummy_for("Korean", "안녕하세요.") == Dummy(text=KOREAN, words="그리고 잠시 쉬어가겠습니다.")


def both(language: str) -> tuple[Dummy, Dummy]:
    first = dummy_for(language, "")
    return first, dummy_for(language, first.words)


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_dummies_are_long_begin_with_a_pause_and_survive_normalising(language: str) -> None:
    first, second = both(language)
    assert first != second
    for dummy in (first, second):
        assert spoken_weight(dummy.words, language) >= 8
        assert dummy.text.endswith(dummy.words)
        assert re.fullmatch(r" +(\.\.\.|……) +", dummy.text.removesuffix(dummy.words))
        assert normalise(dummy.words, language) == dummy.words


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_two_dummies_of_a_language_share_neither_ending_nor_beginning(language: str) -> None:
    first, second = (re.sub(r"\W", "", dummy.words).casefold() for dummy in both(language))
    assert first[-3:] != second[-3:]
    assert first[:3] != second[:3]


def test_the_japanese_dummies_have_no_kanji() -> None:
    # Draft speech cannot read kanji without an optional package.
    for dummy in both("ja"):
        assert not re.search("[\u3400-\u9fff]", dummy.words)


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("ko", "그럼 여기서 잠깐 쉬어 가죠."),
        ("ko", "그리고 잠시, 쉬어가겠습니다!"),
        ("en", "They saw the LIGHTHOUSE at dawn."),
        ("de", "Der Leuchtturm steht am Meer."),
        ("es", "El faro es viejo."),
        ("zh", "我们歇歇脚吧。"),
        ("ja", "うたたねをしました。"),
    ],
)
def test_a_line_with_the_first_dummys_words_gets_the_second(language: str, line: str) -> None:
    assert dummy_for(language, line) == both(language)[1]


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("ko", "문을 닫았다. 그리고 잠시 기다렸다."),
        ("en", "The rain had stopped. And now we shall see."),
        ("de", "Und nun verweilen wir hier."),
        # To the ear toudai is most of toudai no, whatever it is written in.
        ("ja", "外に出ました。それでは東大の話をします。"),
        ("zh", "雨停了。现在我们去等他。"),
    ],
)
def test_a_line_with_a_sentence_that_begins_as_the_first_dummy_gets_the_second(language: str, line: str) -> None:
    assert dummy_for(language, line) == both(language)[1]


@pytest.mark.parametrize(
    ("language", "line"),
    [("ko", "그리고 그가 웃었다."), ("en", "And now?"), ("ja", "それから帰りました。"), ("zh", "现在几点？")],
)
def test_a_line_that_shares_a_common_word_with_the_dummy_keeps_the_first(language: str, line: str) -> None:
    assert dummy_for(language, line) == both(language)[0]


def test_where_both_dummies_begin_as_the_line_does_it_is_the_first() -> None:
    line = "그리고 잠시 기다렸다. 이쯤에서 느긋하게 가자."
    assert dummy_for("ko", line) == both("ko")[0]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("아무것도 같지 않다.", 0.0),
        ("비가 그쳤다. 그리고 갰다.", 3 / 12),
        ("그리고, 잠시 기다렸다.", 5 / 12),
        ("그리고 잠시 쉬어가겠습니다.", 1.0),
        ("잠시 쉬어가겠습니다.", 0.0),
    ],
)
def test_the_share_of_the_dummy_that_the_text_begins_with(text: str, share: float) -> None:
    assert shared_beginning(text, "그리고 잠시 쉬어가겠습니다.") == pytest.approx(share)


@pytest.mark.parametrize(
    ("override", "text", "words"),
    [
        (
            "  ...  이제 다음으로 넘어가 보겠습니다.",
            "  ...  이제 다음으로 넘어가 보겠습니다.",
            "이제 다음으로 넘어가 보겠습니다.",
        ),
        (
            "이제 다음으로 넘어가 보겠습니다",
            "  ...  이제 다음으로 넘어가 보겠습니다.",
            "이제 다음으로 넘어가 보겠습니다.",
        ),
        ("...이제 다음으로", "  ...  이제 다음으로.", "이제 다음으로."),
        ("。。。이제 다음으로", "  ...  이제 다음으로.", "이제 다음으로."),
        (" … 이제 다음으로? ", " … 이제 다음으로?", "이제 다음으로?"),
    ],
)
def test_an_override_wins_and_has_a_pause_and_an_end(override: str, text: str, words: str) -> None:
    assert dummy_for("ko", words, override) == Dummy(text, words)


@pytest.mark.parametrize("override", ["...", " 。 ", "😀"])
def test_an_override_without_a_word_is_refused_with_its_value(override: str) -> None:
    with pytest.raises(SettingsError, match="DUMMY_SUFFIX") as refused:
        dummy_for("ko", "네.", override)
    assert ascii(override) in str(refused.value)


def test_a_blank_override_is_no_override() -> None:
    assert dummy_for("ko", "네.", "  ").text == KOREAN


@pytest.mark.parametrize(
    ("language", "line", "closed"),
    [
        ("ko", "오늘도 반갑습니다.", "오늘도 반갑습니다."),
        ("ko", "오늘도 반갑습니다", "오늘도 반갑습니다."),
        ("ko", "정말?", "정말?"),
        ("ko", '그는 물었다. "정말?"', '그는 물었다. "정말?"'),
        ("ko", '그는 "네"', '그는 "네".'),
        ("ko", "첫째, 재료를,", "첫째, 재료를."),
        ("ko", "그래서...", "그래서..."),
        ("ko", "좋아요~", "좋아요."),
        ("en", "Version 2", "Version 2."),
        ("fr", "Il dit : « Qui est-ce ? »", "Il dit : « Qui est-ce ? »"),
        ("ja", "はい", "はい。"),
        ("ja", "「はい。」", "「はい。」"),
        ("zh", "你好，", "你好。"),
        ("zh", "2024年", "2024年。"),
    ],
)
def test_the_lines_own_final_punctuation_comes_first(language: str, line: str, closed: str) -> None:
    dummy = dummy_for(language, line)
    padded, offset = join(line, dummy)
    assert padded == closed + dummy.text
    assert padded[offset:] == dummy.words


def test_the_offset_is_that_of_the_first_letter() -> None:
    dummy = dummy_for("es", "Hola", "¿Tomamos ahora un pequeño descanso?")
    padded, offset = join("Hola", dummy)
    assert padded == "Hola.  ...  ¿Tomamos ahora un pequeño descanso?"
    assert padded[offset:].startswith("Tomamos")
