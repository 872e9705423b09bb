from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_assert.report.layout import clean, columns, cut, hang, speaks_unicode, wrap


@given(st.text(), st.integers(2, 40))
def test_wrapped_lines_fit_and_lose_no_word(text, width):
    text = clean(text)
    lines = wrap(text, width)
    assert all(columns(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(st.text(), st.integers(4, 40), st.booleans())
def test_cut_text_fits(text, width, plain):
    assert columns(cut(clean(text, ascii=plain), width, ascii=plain)) <= width


@given(st.text())
def test_cleaned_text_is_one_printable_line(text):
    assert "\x1b" not in clean(text)
    assert len(clean(text).splitlines()) <= 1
    assert clean(text, ascii=True).isascii()


def test_wrapping_is_at_words_and_keeps_columns():
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("a    b", 10) == ["a    b"]
    assert wrap("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert wrap("日本語 text", 6) == ["日本語", "text"]


def test_a_hanging_paragraph():
    assert hang("why", ["one two three", "x"], label_width=5, width=12, further=2) == [
        "why  one two",
        "       three",
        "     x",
    ]


def test_control_characters_of_a_sample_do_not_reach_the_terminal():
    assert clean("a\x1b[31mb\nc\u202e") == "a\\x1b[31mb c\\u202e"
    assert clean("→ … é", ascii=True) == "-> ... \\xe9"


@pytest.mark.parametrize(
    ("encoding", "speaks"), [("utf-8", True), ("ascii", False), ("latin-1", False), (None, False), ("nonsense", False)]
)
def test_what_an_encoding_speaks(encoding, speaks):
    assert speaks_unicode(encoding) is speaks
