"""A line made ready at the door and read again by the worker."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import TextRefused
from server.takes.dummy import dummy_for
from server.takes.line import line_from_json, prepare_line
from server.text.languages import LANGUAGES
from server.text.length import spoken_weight


@given(st.text(max_size=60), st.sampled_from(sorted(LANGUAGES.values())), st.integers(0, 2**31 - 1))
def test_the_worker_reads_the_very_line_that_was_prepared(text: str, language: str, seed: int) -> None:
    try:
        line = prepare_line(text, language, seed)
    except TextRefused:
        return
    assert line_from_json(json.loads(json.dumps({"do": "speak", "id": 1} | dataclasses.asdict(line)))) == line


def test_the_text_is_kept_as_received_beside_what_is_spoken_of_it() -> None:
    line = prepare_line("  안녕하세요。\u200b ", "Korean", 3)
    assert line.text == "  안녕하세요。\u200b "
    assert line.spoken_text == "안녕하세요."


@pytest.mark.parametrize("text", ["안녕하세요.", " 안녕하세요. ", "\ud800안녕하세요."])
def test_the_hash_is_that_of_the_text_as_received(text: str) -> None:
    expected = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    assert prepare_line(text, "Korean", 1).sha256 == expected


def test_the_weight_is_that_of_all_that_is_spoken() -> None:
    """Invisible characters weigh nothing, and a dummy of the user's own weighs what it says."""
    plain = prepare_line("하나 둘 셋.", "Korean", 1)
    assert plain.weight == spoken_weight("하나 둘 셋." + plain.dummy.words, "Korean")
    assert prepare_line("하나 둘 셋." + "\u200b" * 500, "Korean", 1).weight == plain.weight
    longer = prepare_line("하나 둘 셋.", "Korean", 1, "그리고 " * 20)
    assert longer.weight > plain.weight + 20


def test_the_dummy_is_chosen_by_what_is_spoken_unless_the_setting_names_one() -> None:
    words = dummy_for("Korean", "").words
    hidden = "".join(char + "\u200b" for char in words)
    assert prepare_line("다른 말입니다.", "Korean", 1).dummy.words == words
    assert prepare_line(hidden, "Korean", 1).dummy.words != words, "the line says the first dummy itself"
    assert prepare_line(hidden, "Korean", 1, "나무 위에 작은 새가 앉았습니다.").dummy.words.startswith("나무")


@pytest.mark.parametrize("text", ["。。。", "", "\u200b"])
def test_what_cannot_be_spoken_is_refused(text: str) -> None:
    with pytest.raises(TextRefused):
        prepare_line(text, "Korean", 5)
