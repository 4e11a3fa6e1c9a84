from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from babel.messages.catalog import Catalog

from server.contract.codes import SENTENCES, STATUS, ErrorCode
from server.terminal.messages import t, use_language


@pytest.fixture(scope="module")
def messages() -> ModuleType:
    """scripts/messages.py, which is a program and no package."""
    file = Path(__file__).parents[2] / "scripts" / "messages.py"
    spec = importlib.util.spec_from_file_location("scripts_messages", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_sentence_is_there_in_korean_too(messages: ModuleType) -> None:
    sentences = messages.collect()
    assert len(sentences) > 200, "the collector itself is broken"
    assert messages.problems(messages.read_catalog(), sentences) == []


def test_a_missing_or_wrong_translation_is_found(messages: ModuleType) -> None:
    catalog = Catalog(locale="ko")
    catalog.add("Saved {file}.", "저장했습니다.")
    catalog.add("Gone.", "—")
    catalog.add("Not used.", "안 씀")
    found = "\n".join(
        messages.problems(catalog, {"Saved {file}.": ["a.py:1"], "Gone.": ["b.py:2"], "New.": ["c.py:3"]})
    )
    assert "a.py:1: other places" in found
    assert "b.py:2: a cp949 console cannot show" in found
    assert "c.py:3: no Korean" in found
    assert "no longer used: 'Not used.'" in found


def test_every_error_code_has_a_status_and_a_sentence() -> None:
    assert set(SENTENCES) == set(STATUS) == set(ErrorCode)


def test_a_sentences_places_are_filled_after_translation() -> None:
    use_language("ko")
    korean = t(SENTENCES[ErrorCode.TEXT_TOO_LONG], length=1200, limit=1000)
    assert "1200" in korean and "1000" in korean and "{" not in korean
    assert korean != SENTENCES[ErrorCode.TEXT_TOO_LONG].format(length=1200, limit=1000)


def test_a_place_may_be_called_sentence() -> None:
    """It was a TypeError while the first parameter of t() could be given by name."""
    assert t("Note: {sentence}", sentence="x") == "Note: x"
