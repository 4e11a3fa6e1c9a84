"""Seeds that recordings were made with."""

from __future__ import annotations

from client.project.plan import line_seed
from server.contract.http import MAX_SEED
from server.takes.take import retake_seed
from server.text.seed import seed_from


def test_a_line_and_its_retakes_keep_the_seeds_they_had() -> None:
    """Another value would speak a script's unchanged lines in another take."""
    assert line_seed("네", "Korean", 0) == 916031229
    assert line_seed("Good night.", "English", 2, 1) == 1171431518
    assert (retake_seed(5, 1), retake_seed(916031229, 2)) == (953892783, 1625133035)


def test_words_that_cannot_be_written_as_utf_8_have_a_seed_too() -> None:
    assert line_seed("\ud800", "Korean", 0) == 70355258
    assert 0 <= seed_from("\ud800") <= MAX_SEED
