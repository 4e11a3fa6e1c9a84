"""Whether a sentence ends behind a quotation or a bracket, language by language."""

from __future__ import annotations

import re

from server.sentences.pairs import PAIRS, QUOTES, TITLE_CLOSERS
from server.sentences.place import (
    Place,
    goes_on_in_small_letters,
    is_speakable,
    is_wide,
)
from server.sentences.quotations_east import (
    clause_of,
    continues_in_chinese,
    continues_in_japanese,
    continues_in_korean,
    leads_to_korean_quotations,
)
from server.sentences.words import word_set


def ends_after_quote(place: Place) -> bool:
    rest, code = place.rest, place.code
    if rest[0] in PAIRS and rest[0] not in "([（":
        return not leads_to_korean_quotations(place)  # the next speaker's quotation
    if code == "ko":
        return not continues_in_korean(place)
    if code == "ja":
        return not continues_in_japanese(place, quoted=True)
    if code == "zh":
        return not continues_in_chinese(place)
    if goes_on_in_small_letters(place):
        return False  # "Really?" he asked.
    if _dash(rest):
        return bool(QUOTES & set(place.opening))  # „Warum?“ – „Darum.“ but «Правда?» — Иван кивнул.
    return not is_attribution(place)


def ends_after_bracket(place: Place) -> bool:
    embedded = is_speakable(place.before_bracket)
    if TITLE_CLOSERS & set(place.stop.closed) or continues_in_japanese(place, quoted=True):
        return False
    if is_wide(place.rest[0]):
        return not embedded and (place.gap or place.code in ("ja", "zh"))
    return not goes_on_in_small_letters(place)


def _dash(text: str) -> bool:
    return text[:1] in ("—", "–", "―") or text.startswith("- ")


def is_attribution(place: Place) -> bool:
    """`"Really?" Tom asked.` and `— É sério? — Maria perguntou.`: who speaks, in a clause of a few words."""
    verbs = _SPEECH.get(place.code)
    quoted = bool(QUOTES & set(place.stop.closed))
    # Only English puts a capital right behind the quote: `"Really?" Tom asked.`; elsewhere a dash comes first.
    if verbs is None or not ((quoted and place.code == "en") or _dash(place.rest)):
        return False
    clause = clause_of(place.rest[len(place.opening) :]).rstrip(".,!?… ")
    if _NOBODY & set(clause.casefold().split()):
        return False
    if quoted and place.before_bracket[-1:] in (",", ":"):
        return False  # I asked, "Why?" She said, "Why not?"
    if quoted and place.stop.marks[-1] in "?!" and re.match(rf"I (?:{verbs})\b", clause):
        return True  # "Why?" I asked her on the stairs.
    return re.fullmatch(rf"(?:[\w’'.-]+ ){{0,3}}(?:{verbs})(?: \w+)?", clause) is not None


_SPEECH = {
    "en": "asked|said|replied|answered|shouted|whispered|cried|yelled|muttered|added|called|screamed|"
    "exclaimed|wondered",
    "de": "fragte|sagte|rief|antwortete|flüsterte|schrie|meinte|erwiderte",
    "fr": "demanda|demande|dit|répondit|répond|cria|murmura|s'écria|a demandé|a dit|a répondu|a crié",
    "es": "preguntó|dijo|respondió|contestó|gritó|susurró|exclamó|añadió",
    "pt": "perguntou|disse|respondeu|gritou|sussurrou|exclamou|falou",
    "it": "chiese|disse|rispose|gridò|sussurrò|esclamò|domandò|ha chiesto|ha detto",
    "ru": "спросила?|сказала?|ответила?|крикнула?|закричала?|прошептала?|воскликнула?|произн[её]сл?а?|добавила?",
}

_NOBODY = word_set("nobody no not niemand personne nadie no ninguém não nessuno non никто не")
"""`"Why?" Nobody answered.` tells what happened next, not who spoke."""

HESITATIONS = word_set(
    "well um uh er erm so oh ah hmm and but or because äh ähm also eh euh bon эээ ну este pues né beh"
)

NAMES_WITH_A_MARK = word_set("yahoo jeopardy joomla wham kahoot")
