"""The splitter against sentences of our own in ten languages, a table of the hard ones, and any text at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import sentencex
from clock import least_cpu_s
from hypothesis import given, settings
from hypothesis import strategies as st

from server.sentences.language import detect_language
from server.sentences.split import split_sentences
from server.text.languages import LANGUAGES

HERE = Path(__file__).parent


def cases_in(name: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (HERE / name).read_text("utf-8").splitlines()]


CASES = cases_in("sentences.jsonl")
KINDS = cases_in("kinds.jsonl")
"""Kinds of faults with their siblings in ten languages; the rules were written with these at hand."""
HELD_OUT = cases_in("held_out.jsonl")
"""Siblings that nobody looks at while a rule is written: a failure here is counted, and no rule is fitted to it."""


def inked(text: str) -> str:
    return "".join(text.split())


def is_exact(case: dict[str, Any]) -> bool:
    return list(map(inked, split_sentences(case["text"], case["lang"]))) == list(map(inked, case["gold"]))


def inner_ends(sentences: list[str]) -> set[int]:
    """Offsets without white space at which a sentence ends within the text."""
    return set(accumulate(len(inked(sentence)) for sentence in sentences[:-1]))


@pytest.mark.parametrize("case", KINDS, ids=lambda case: f"{case['lang']}-{case['text'][:30]}")
def test_a_case_of_a_known_kind_is_split_exactly(case: dict[str, Any]) -> None:
    assert list(map(inked, split_sentences(case["text"], case["lang"]))) == list(map(inked, case["gold"]))


def test_siblings_that_were_held_out_are_split_as_well() -> None:
    found = [(inner_ends(split_sentences(case["text"], case["lang"])), inner_ends(case["gold"])) for case in HELD_OUT]
    hit = sum(len(ours & gold) for ours, gold in found)
    assert sum(map(is_exact, HELD_OUT)) >= 0.97 * len(HELD_OUT)
    assert hit >= 0.98 * sum(len(ours) for ours, _ in found), "precision"


def plain_sentencex(text: str, code: str) -> list[str]:
    return list(sentencex.segment(code, text))


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_language_is_split_less_precisely_than_by_sentencex_alone(code: str) -> None:
    cases = [case for case in [*CASES, *KINDS, *HELD_OUT] if case["lang"] == code]
    gold = [inner_ends(case["gold"]) for case in cases]

    def precision(split: Callable[[str, str], list[str]]) -> float:
        ends = [inner_ends(split(case["text"], code)) for case in cases]
        hit = sum(len(ours & theirs) for ours, theirs in zip(ends, gold, strict=True))
        return hit / sum(map(len, ends))

    assert precision(split_sentences) >= max(0.98, precision(plain_sentencex))


@pytest.mark.parametrize("code", LANGUAGES)
def test_nearly_all_of_a_languages_cases_are_split_exactly(code: str) -> None:
    cases = [case for case in CASES if case["lang"] == code]
    split = [(case["gold"], split_sentences(case["text"], code)) for case in cases]
    wrong = [(gold, got) for gold, got in split if list(map(inked, gold)) != list(map(inked, got))]
    assert len(cases) >= 15
    assert len(wrong) <= 0.05 * len(cases), wrong


HARD = [
    # a quotation goes on: particles, and verbs of speech
    ("ko", '"정말?"이라고 물었다. 나는 웃었다.', ['"정말?"이라고 물었다.', "나는 웃었다."]),
    ("ko", "“가자. 늦겠다.”라며 일어섰다.", ["“가자. 늦겠다.”라며 일어섰다."]),
    ("ko", '"싫어!" "왜?"', ['"싫어!"', '"왜?"']),
    ("ko", '"그래." 둘은 입을 다물었다.', ['"그래."', "둘은 입을 다물었다."]),
    ("ja", "「本当？」と聞いた。雨が降った。", ["「本当？」と聞いた。", "雨が降った。"]),
    ("ja", "「行く？」「うん。」", ["「行く？」", "「うん。」"]),
    ("ja", "「元気？」はい、元気です。", ["「元気？」", "はい、元気です。"]),
    ("zh", "“走吧！”他喊道。天黑了。", ["“走吧！”他喊道。", "天黑了。"]),
    ("zh", "她问：“是吗？”我点头。", ["她问：“是吗？”", "我点头。"]),
    ("zh", "“是吗？”我知道了。", ["“是吗？”", "我知道了。"]),
    ("en", '"Why?" Nora asked. "Because."', ['"Why?" Nora asked.', '"Because."']),
    ("en", '"Why?" Nobody answered.', ['"Why?"', "Nobody answered."]),
    ("en", '"Why?" I asked her on the stairs. "No."', ['"Why?" I asked her on the stairs.', '"No."']),
    ("ru", "«Да?» — Иван кивнул. Тихо.", ["«Да?» — Иван кивнул.", "Тихо."]),
    ("pt", "— Vai? — perguntou. — Vou.", ["— Vai? — perguntou.", "— Vou."]),
    ("de", "„Warum?“ – „Darum.“", ["„Warum?“", "– „Darum.“"]),
    # numbers
    ("ko", "버전 2.0. 다음은 3.1입니다.", ["버전 2.0.", "다음은 3.1입니다."]),
    ("ko", "2024.01.05. 기준이다. 끝.", ["2024.01.05. 기준이다.", "끝."]),
    ("ko", "비타민 C. 둘 다 좋아요.", ["비타민 C.", "둘 다 좋아요."]),
    (
        "de",
        "Es war der 2. Versuch. Es waren 2. Dann kam er.",
        ["Es war der 2. Versuch.", "Es waren 2.", "Dann kam er."],
    ),
    ("en", "Steps: 1. Open the app. 2. Close it.", ["Steps: 1. Open the app.", "2. Close it."]),
    ("it", "1. Apri l'app. 2. Chiudi.", ["1. Apri l'app.", "2. Chiudi."]),
    ("fr", "Il est 8 h. Partons.", ["Il est 8 h.", "Partons."]),
    # abbreviations and words that only look like one
    ("en", "No. 1 is here. No. Not yet.", ["No. 1 is here.", "No.", "Not yet."]),
    ("es", "El núm. 1. No. Nunca.", ["El núm. 1.", "No.", "Nunca."]),
    ("it", "Non parlo mai. Poi vado via. Ecco.", ["Non parlo mai.", "Poi vado via.", "Ecco."]),
    ("ru", "В 1799 г. в Москве. В 1950 г. Он жил.", ["В 1799 г. в Москве.", "В 1950 г.", "Он жил."]),
    ("ru", "И т. д. Это всё.", ["И т. д.", "Это всё."]),
    ("ko", "셋. 넷.", ["셋.", "넷."]),
    # ellipses
    ("ko", "음… 글쎄요. 네.", ["음… 글쎄요.", "네."]),
    ("ko", "끝났습니다… 이제 쉬죠.", ["끝났습니다…", "이제 쉬죠."]),
    ("en", "Wait... what? Oh... No.", ["Wait... what?", "Oh... No."]),
    # names with a mark, inches, addresses, missing spaces
    ("ja", "モーニング娘。の曲。終わり。", ["モーニング娘。の曲。", "終わり。"]),
    ("en", "Yahoo! was big. OK!", ["Yahoo! was big.", "OK!"]),
    ("en", 'A 27" screen. A 32" screen.', ['A 27" screen.', 'A 32" screen.']),
    ("ko", "www.a.kr/b?c=1을 보세요. 네!", ["www.a.kr/b?c=1을 보세요.", "네!"]),
    ("ko", "좋아요.그런데 왜죠?", ["좋아요.", "그런데 왜죠?"]),
    ("ko", "와! 🎉 다음!", ["와! 🎉", "다음!"]),
    ("ko", "첫 줄\n둘째 줄", ["첫 줄", "둘째 줄"]),
    ("en", "iOS is new. iPhone sales rose.", ["iOS is new.", "iPhone sales rose."]),
    ("en", "(Nobody saw.) It fell (twice!) and broke.", ["(Nobody saw.)", "It fell (twice!) and broke."]),
]


@pytest.mark.parametrize(("code", "text", "sentences"), HARD)
def test_a_hard_case_is_split_exactly(code: str, text: str, sentences: list[str]) -> None:
    assert split_sentences(text, code) == sentences


def test_a_language_is_taken_by_code_and_by_name() -> None:
    assert split_sentences("네. 네.", "Korean") == split_sentences("네. 네.", "ko") == ["네.", "네."]
    with pytest.raises(ValueError, match="Klingon"):
        split_sentences("nuq", "Klingon")


def test_an_overlong_quotation_is_split_inside() -> None:
    quotation = "“" + "우리는 아주 오랫동안 걸었습니다. " * 8 + "”"
    assert len(split_sentences(quotation, "ko")) == 8


def test_a_book_in_one_line_is_split() -> None:
    assert len(split_sentences('그는 "정말?"이라고 물었다. 버전 2.0입니다. ' * 4000, "ko")) == 8000


ENDLESS = {
    "combining marks": "가" + "\u0301" * 50,
    "no stop mark": "가나 다라 마바 ",
    "stop marks that end nothing": "값은 3.5 그리고 ",
    "openers": "(((([",
    "closers": ")]}»”",
    "quotes without a partner": " '가 \"나 “다",
    "dots": ". . . ",
    "marks": "?!",
    "items": "1) 가나 2) 다라 ",
    "apostrophes": "boys' 'tis ",
    "abbreviations": "Mr. No. vs. etc. ",
    "one word": "a.b.",
    "Chinese quotations": "他说“好。”就走，",
    "Japanese quotations": "「え？」に、",
    "Korean quotations": "“가!” 하자 ",
}


@pytest.mark.parametrize("shape", ENDLESS)
def test_eight_times_the_line_is_about_eight_times_the_work(shape: str) -> None:
    """Quadratic work is sixty-four times as much. CPU time of this process: a busy machine does not count."""

    def seconds(size: int) -> float:
        line = (ENDLESS[shape] * size)[:size]
        code = {"Chinese": "zh", "Japanese": "ja"}.get(shape.split()[0], "ko")
        return least_cpu_s(lambda: split_sentences(line, code), tries=2)

    seconds(1000)
    assert seconds(80_000) < 30 * seconds(10_000) + 0.05


MARKS = st.lists(
    st.sampled_from(
        [
            *".?!…。？！\"'“”‘’„«»「」『』（）()[] \n—-:,~😀139aAéñГв가다요라のはと说我",
            "Dr.",
            "...",
            " p. m. ",
            "www.a.b",
            "\u200b",
            "\x00",
        ]
    ),
    max_size=50,
).map("".join)


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(max_size=60), MARKS), st.sampled_from(sorted(LANGUAGES)))
def test_no_character_is_lost_and_no_sentence_is_blank(text: str, code: str) -> None:
    sentences = split_sentences(text, code)
    assert inked("".join(sentences)) == inked(text)
    assert all(sentence.strip() == sentence != "" for sentence in sentences)
    for sentence in sentences:
        assert inked("".join(split_sentences(sentence, code))) == inked(sentence)


@pytest.mark.parametrize("case", [*CASES, *KINDS], ids=lambda case: f"{case['lang']}-{case['text'][:30]}")
def test_a_sentence_is_not_split_again(case: dict[str, Any]) -> None:
    for sentence in case["gold"]:
        assert len(split_sentences(sentence, case["lang"])) == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("오늘은 GitHub Copilot과 ChatGPT를 비교합니다.", "Korean"),
        ("新しいiPhoneを買いました。", "Japanese"),
        ("东京是日本的首都。", "Chinese"),
        ("Сегодня мы идём в парк.", "Russian"),
        ("The weather is fine today.", "English"),
        ("Das Wetter ist heute schön.", "German"),
        ("Il fait beau aujourd'hui, n'est-ce pas ?", "French"),
        ("Hoy hace muy buen tiempo en la ciudad.", "Spanish"),
        ("Oggi il tempo è molto bello in città.", "Italian"),
        ("Hoje o tempo está muito bom na cidade.", "Portuguese"),
        ("12345 ...", "English"),
        ("", "English"),
    ],
)
def test_the_language_is_detected(text: str, name: str) -> None:
    assert detect_language(text) == name


def test_the_language_of_nearly_every_case_is_detected() -> None:
    """Two short sentences are little to go by for the six languages that share the Latin alphabet."""
    wrong = [case["text"] for case in CASES if detect_language(case["text"]) != LANGUAGES[case["lang"]]]
    assert len(wrong) <= 0.1 * len(CASES), wrong
    assert not [text for text in wrong if any(ord(character) > 0x370 and character.isalpha() for character in text)]
