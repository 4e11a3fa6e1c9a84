"""One line of a script made ready to be spoken: normalised once, at the door, and passed on as a value.

Made in the server's parent, queued there and sent to the worker as JSON. Knows no audio and no engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.takes.dummy import Dummy, dummy_for
from server.text.length import spoken_weight
from server.text.normalise import normalise


@dataclass(frozen=True)
class PreparedLine:
    """Plain data: `dataclasses.asdict` gives the JSON object that `line_from_json` reads."""

    text: str
    """As received"""
    spoken_text: str
    """The text normalised, without the dummy"""
    language: str
    """One of the ten, such as `Korean`"""
    dummy: Dummy
    weight: float
    """How long text and dummy take to say, in the units of `spoken_weight`"""
    sha256: str
    """Of the text as received, hex; its UTF-8 with lone surrogates passed through"""
    seed: int


def prepare_line(text: str, language: str, seed: int, dummy_suffix: str = "") -> PreparedLine:
    """language: a name of the ten. dummy_suffix: the DUMMY_SUFFIX setting.

    Raises TextRefused for a text that cannot be spoken.
    """
    spoken_text = normalise(text, language)
    dummy = dummy_for(language, spoken_text, dummy_suffix)
    return PreparedLine(
        text=text,
        spoken_text=spoken_text,
        language=language,
        dummy=dummy,
        weight=spoken_weight(spoken_text, language) + spoken_weight(dummy.words, language),
        sha256=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        seed=seed,
    )


def line_from_json(found: Mapping[str, Any]) -> PreparedLine:
    """found: what `dataclasses.asdict` made of a line, on its way through JSON; it may hold other keys beside."""
    return PreparedLine(
        text=found["text"],
        spoken_text=found["spoken_text"],
        language=found["language"],
        dummy=Dummy(**found["dummy"]),
        weight=found["weight"],
        sha256=found["sha256"],
        seed=found["seed"],
    )
