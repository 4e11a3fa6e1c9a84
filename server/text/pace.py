"""How long a sentence will take to speak, before anything is spoken. Knows no audio and no server.

For `narrate split` and the first guess at the time that is left; both say "about".
"""

from __future__ import annotations

import re

from server.text.composed import composed
from server.text.languages import language_code
from server.text.length import spoken_weight

NARRATION_PACE = 0.8
"""Share of the pace of fluent reading. Narrators speak slower: with pauses, 150 to 160 English words a minute."""

# Syllables (Japanese: morae) a second in fluent reading. de, en, es, fr, it, ja, zh: Pellegrino, Coupe and Marsico,
# "A cross-language perspective on speech information rate", Language 87 (2011), table 1. The other three are not in
# it and come from draft speech (eSpeak NG at 165 words a minute, 18 sentences a language): the table's paces are 1.58
# times draft speech's on average over en, de, es, fr, it and zh, which gives ko 7.3, pt 6.7, ru 8.1.
# Korean and Russian are set lower, towards the others: no narrator reads as fast as that.
SYLLABLES_PER_SECOND = {
    "ko": 6.9,
    "en": 6.19,
    "ja": 7.84,
    "zh": 5.18,
    "de": 5.97,
    "fr": 7.18,
    "ru": 7.0,
    "pt": 6.7,
    "es": 7.82,
    "it": 6.99,
}

EDGE_S = 0.2
"""Seconds of silence that a recording has in front and behind."""
COMMA_S = 0.2
STOP_S = 0.4
"""Seconds of pause at a stop mark or ellipsis within the text; the last one is the recording's end."""

_PAUSE = re.compile(r"[,;:、，；：]|\s[—–-]\s")
_LAST_MARKS = " .?!…。？！\"'”’」』)~"
_STOP = re.compile(r"(?:[.?!…。？！]+)(?=[\s\"'”’」』)]|[^\x00-\x7f]|$)")


def expected_seconds(text: str, language: str) -> float:
    """Spoken length in seconds, the silence at both ends included; language: code or name of one of the ten."""
    code = language_code(language)
    text = composed(text).strip()
    pauses = COMMA_S * len(_PAUSE.findall(text)) + STOP_S * len(_STOP.findall(text.rstrip(_LAST_MARKS)))
    return EDGE_S + spoken_weight(text, code) / (NARRATION_PACE * SYLLABLES_PER_SECOND[code]) + pauses
