from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.contract.codes import ErrorCode
from server.contract.http import MAX_TEXT_CHARS
from server.errors import TextRefused
from server.text.languages import LANGUAGES
from server.text.normalise import normalise


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("ko", "네。。。", "네."),
        ("ko", "。。。안녕하세요。", "안녕하세요."),
        ("ko", "정말？ 네！ 그런데，왜", "정말? 네! 그런데,왜"),
        ("ko", "１２３ａｂｃ％", "123abc%"),
        ("ko", "진짜!!!!! 왜????", "진짜! 왜?"),
        ("ko", "뭐?!?!?!", "뭐?!"),
        ("ko", "네!。", "네!"),
        ("ko", "그래서..... 음", "그래서... 음"),
        ("ko", "그래서. . . . 음", "그래서... 음"),
        ("ko", "그래서…… 음", "그래서... 음"),
        ("ko", "아~~~~ 좋다", "아~ 좋다"),
        ("ko", "하\u1100\u1161", "하가"),
        ("ko", "보이지\u200b않는\ufeff글\u00ad자\u202e", "보이지않는글자"),
        ("ko", "빈\u3164칸\u2800칸", "빈칸칸"),
        ("ko", "앞\x00뒤\x07\ud800", "앞뒤"),
        ("ko", "  줄\r\n바꿈\t탭\u3000전각\u00a0 ", "줄 바꿈 탭 전각"),
        ("ko", "첫째 1️⃣ 👨‍👩‍👧‍👦 가족 ❤️ 🇰🇷", "첫째 1 가족"),
        ("ko", "서울 → 부산 ★ 36.5℃", "서울 부산 36.5℃"),
        ("ko", "https://example.org/a_b?c=1 와 me@example.org", "https://example.org/a_b?c=1 와 me@example.org"),
        ("en", "Really?!?!  Yes... “quote” it's 3.5%", "Really?! Yes... “quote” it's 3.5%"),
        ("fr", "e\u0301te\u0301", "été"),
        ("fr", "e\u200d\u0301", "é"),
        ("ja", "はい。。。", "はい。"),
        ("ja", "え！！！？", "え！？"),
        ("ja", "これ、「ほん」です。", "これ、「ほん」です。"),
        ("ja", "ｶﾞｷﾞ｡", "ガギ。"),
        ("ja", "３．５％です．", "3.5％です。"),
        ("zh", "你好，世界！", "你好，世界！"),
        ("zh", "。。你好……………", "你好…"),
        ("zh", "１０，０００元。", "10,000元。"),
    ],
)
def test_text_is_made_fit_to_speak(language: str, text: str, expected: str) -> None:
    assert normalise(text, language) == expected


@pytest.mark.parametrize("text", ["", "   ", "\u200b\ufeff", "\x00\x1f\n", "\ud800", "\u3164"])
def test_a_text_of_nothing_is_empty(text: str) -> None:
    with pytest.raises(TextRefused) as refused:
        normalise(text, "Korean")
    assert refused.value.code == ErrorCode.TEXT_EMPTY


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("text", ["。", "。。。。。。", "...", "😀😀", "?!", "ーー", "— ♪ —", "'\"", "´"])
def test_a_text_without_letter_or_digit_is_refused_and_quoted(language: str, text: str) -> None:
    with pytest.raises(TextRefused) as refused:
        normalise(text, language)
    assert refused.value.code == ErrorCode.TEXT_UNSPEAKABLE
    assert refused.value.params["text"] == text


def test_a_refused_text_is_quoted_shortened_and_printable() -> None:
    with pytest.raises(TextRefused) as refused:
        normalise("\ud800\x07" + "!?" * 500, "ko")
    quoted = refused.value.params["text"]
    assert len(quoted) <= 43
    assert quoted.isprintable()


def test_the_limit_counts_what_is_left_after_normalising() -> None:
    assert len(normalise("가" * MAX_TEXT_CHARS + " \u200b" * 50, "ko")) == MAX_TEXT_CHARS
    with pytest.raises(TextRefused) as refused:
        normalise("가" * (MAX_TEXT_CHARS + 1), "ko")
    assert refused.value.code == ErrorCode.TEXT_TOO_LONG
    assert refused.value.params == {"length": MAX_TEXT_CHARS + 1, "limit": MAX_TEXT_CHARS}


def test_a_huge_text_of_combining_marks_is_refused_before_it_is_ordered() -> None:
    # Canonical ordering of alternating marks is quadratic: a million of them would take minutes.
    with pytest.raises(TextRefused) as refused:
        normalise("a" + "\u0301\u0323" * 500_000, "ko")
    assert refused.value.code == ErrorCode.TEXT_TOO_LONG


_TRICKY = st.text(
    alphabet=st.sampled_from(
        list("가나a1 .!?。！？．，、~～〜…‥：;；-—・'\"（）()％０Ａｶﾞ｡～")
        + ["\u0301", "\u3099", "\u200d", "\u0338", "\u3164", "\ufe0f", "\u20e3", "\u2028", "\x00", "\ud800"]
        + ["😀", "→", "‼", "⁉", "\u037e", "\u1160", "\u1100", "\u1161", "\u2329", "\ufa0e", "<", "=", "\u0f71"]
    ),
    max_size=24,
)


@given(text=_TRICKY | st.text(max_size=60), language=st.sampled_from(sorted(LANGUAGES)))
@example(text="．。", language="zh")
@example(text="!。\u0301!", language="ko")
def test_normalising_twice_is_normalising_once_and_only_refuses(text: str, language: str) -> None:
    try:
        once = normalise(text, language)
    except TextRefused as refused:
        assert refused.sentence()
        return
    assert normalise(once, language) == once
    once.encode()
    assert once.isprintable()
    assert once == once.strip()
    assert "。。" not in once
    assert "  " not in once
