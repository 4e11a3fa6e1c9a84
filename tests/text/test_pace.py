"""Expected lengths against draft speech, and against what must hold for any estimate."""

from __future__ import annotations

import pytest

from server.engines import EngineSettings
from server.engines.draft.engine import open_draft
from server.text.languages import LANGUAGES
from server.text.pace import expected_seconds

SENTENCES = {
    "Korean": "오늘은 작은 마을의 오래된 빵집을 찾아가 보겠습니다.",
    "English": "Today we are going to visit an old bakery in a small village.",
    "Japanese": "きょうは ちいさな むらの ふるい ぱんやさんに いってみましょう。",
    "Chinese": "今天我们去看看小村庄里的一家老面包店。",
    "German": "Heute besuchen wir eine alte Bäckerei in einem kleinen Dorf.",
    "French": "Aujourd'hui, nous allons visiter une vieille boulangerie dans un petit village.",
    "Russian": "Сегодня мы заглянем в старую пекарню в маленькой деревне.",
    "Portuguese": "Hoje vamos visitar uma padaria antiga numa pequena aldeia.",
    "Spanish": "Hoy vamos a visitar una panadería antigua en un pueblo pequeño.",
    "Italian": "Oggi andiamo a visitare un vecchio forno in un piccolo paese.",
}


@pytest.mark.parametrize("language", LANGUAGES.values())
def test_the_estimate_is_near_draft_speech(language: str) -> None:
    engine = open_draft(EngineSettings("draft"), lambda phrase: None)
    try:
        spoken = engine.speak(SENTENCES[language], language, 1).seconds
    finally:
        engine.close()
    assert 0.6 < expected_seconds(SENTENCES[language], language) / spoken < 1.6


def test_more_text_takes_longer_and_a_pause_takes_time() -> None:
    assert (
        expected_seconds("네.", "ko")
        < expected_seconds("네, 네.", "ko")
        < expected_seconds("네, 네, 알겠습니다.", "ko")
    )
    assert expected_seconds("One two", "en") < expected_seconds("One. Two", "en")


def test_code_and_name_mean_the_same_and_others_are_refused() -> None:
    assert expected_seconds("안녕", "ko") == expected_seconds("안녕", "Korean")
    with pytest.raises(ValueError, match="xx"):
        expected_seconds("a", "xx")
