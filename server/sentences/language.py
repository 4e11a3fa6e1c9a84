"""Which of the ten languages a text is in. Pure."""

from __future__ import annotations

import re
import unicodedata

from server.sentences.place import is_han, is_hangul, is_kana
from server.sentences.words import STARTERS, word_set
from server.text.languages import LANGUAGES

_TELLING_WORDS: dict[str, frozenset[str]] = {
    "en": word_set(
        "the and of to is it that you this was are with for have not be they we what from there can will "
        "your how has he she his her but do if my would about which when who it's i'm don't"
    ),
    "de": word_set(
        "der die das und ist nicht ich wir sie es ein eine zu den mit auf für von dem im sich auch wie war "
        "haben wird sind aber noch nur oder wenn bei nach so hat uns ihr was einen er heute sehr wurde kann"
    ),
    "fr": word_set(
        "le la les et est une des du dans que qui pour pas nous vous il elle ce cette sur avec au aux sont "
        "mais je plus ne se ou comme on par fait être avons c'est j'ai aujourd'hui bonjour très"
    ),
    "es": word_set(
        "el la los las y es una que del por para con no se lo como pero más su muy este esta está son hay "
        "también cuando donde nos hoy qué al fue ser ya sí ha un en hola porque todo"
    ),
    "pt": word_set(
        "o os as e é uma que do da dos das por para com não se como mas mais seu sua muito este esta está "
        "são há também quando onde nos hoje ao foi ser já sim um em no na você eu isso ele ela pelo olá"
    ),
    "it": word_set(
        "il lo gli le e è una che di del della dei per con non si come ma più suo molto questo questa sono "
        "c'è anche quando dove ci oggi al fu essere già sì ha un in nel nella perché lui ciao tutto dal alla"
    ),
}

_TELLING_LETTERS = {
    "de": "ßäöü",
    "fr": "çèêëîïœùûàâô",
    "es": "ñ¿¡áíóúé",
    "pt": "ãõçâêôáíóúéà",
    "it": "òìùèàé",
}


def detect_language(text: str) -> str:
    """The name of the language, one of the ten, that the text is most likely in; English where nothing tells.

    Korean, Japanese, Chinese and Russian are known by their script, the other six by frequent words and by letters.
    """
    text = re.sub(r"https?://[!-~]+|www\.[!-~]+|[!-~]+@[!-~]+", " ", text)  # addresses are Latin in every language
    counts = {
        "hangul": sum(map(is_hangul, text)),
        "kana": sum(map(is_kana, text)),
        "han": sum(map(is_han, text)),
        "cyrillic": sum("Ѐ" <= character <= "ӿ" for character in text),
        "latin": sum(character.isalpha() and unicodedata.name(character, "").startswith("LATIN") for character in text),
    }
    # Three times: one such character is a syllable or more, and Latin product names must not outweigh a Korean text.
    east = 3 * (counts["hangul"] + counts["kana"] + counts["han"])
    if not any(counts.values()):
        return LANGUAGES["en"]
    if east >= max(counts["latin"], counts["cyrillic"]):
        if counts["hangul"] >= counts["kana"] + counts["han"]:
            return LANGUAGES["ko"]
        return LANGUAGES["ja" if counts["kana"] * 20 >= counts["han"] and counts["kana"] else "zh"]
    if counts["cyrillic"] >= counts["latin"]:
        return LANGUAGES["ru"]
    return LANGUAGES[_latin_language(text)]


def _latin_language(text: str) -> str:
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", text.casefold().replace("’", "'"))
    scores = dict.fromkeys(_TELLING_WORDS, 0.0)
    for word in words:
        # A word with an apostrophe counts where a table holds the whole of it: j'ai does, l'uomo does not.
        knowing = [code for code in scores if word in _TELLING_WORDS[code] or word in STARTERS[code]]
        for code in knowing:
            scores[code] += 1 / len(knowing)
    for character in text.casefold():
        knowing = [code for code, letters in _TELLING_LETTERS.items() if character in letters]
        for code in knowing:
            scores[code] += 1 / len(knowing)
    best = max(scores.values())
    return next(code for code in scores if scores[code] == best)
