"""Passages as text: whatever they hold, they come back as they were."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monosema.interpretation.wording import escape, highlighted, levels, read_lines, token_lines, unescape

SIGNS = st.text(st.sampled_from(list("ab \\«»\t\n\r\x85\u2028unt0")), max_size=6)
TOKENS = st.lists(st.one_of(SIGNS, st.text(max_size=4)), min_size=1, max_size=8)


@given(st.one_of(SIGNS, st.text()))
def test_an_escaped_token_is_one_line_and_comes_back(token: str) -> None:
    text = escape(token)
    assert unescape(text) == token
    assert "\t" not in text
    assert text.splitlines() in ([text], [])


@given(TOKENS, st.data())
def test_marks_come_back_whatever_the_tokens_hold(tokens: list[str], data: st.DataObject) -> None:
    marks = data.draw(st.lists(st.booleans(), min_size=len(tokens), max_size=len(tokens)))
    text = highlighted(tokens, np.array(marks))
    ours = re.split(r"(?<!\\)(?:\\\\)*[«»]", text)
    assert unescape(re.sub(r"((?<!\\)(?:\\\\)*)[«»]", r"\1", text)) == "".join(tokens)
    stretches = sum(mark and (place == 0 or not marks[place - 1]) for place, mark in enumerate(marks))
    assert len(ours) == 2 * stretches + 1


@given(TOKENS, st.data())
def test_lines_are_read_back(tokens: list[str], data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 10), min_size=len(tokens), max_size=len(tokens)))
    text = token_lines(tokens, values)
    read = read_lines(text, tokens)
    assert read is not None
    assert [value for value, _ in read] == values
    assert all(text[place:].startswith(str(value)) for value, place in read)
    assert read_lines(f"Here it is:\n{text}\n", tokens) == [(v, place + 12) for v, place in read]
    assert read_lines(text.rpartition("\n")[0], tokens) is None
    assert read_lines(text + "\nmore\t0", tokens) is None
    assert read_lines(token_lines([*tokens[:-1], tokens[-1] + "x"], values), tokens) is None


def test_values_that_are_no_level_are_no_answer() -> None:
    for said in ("a\t11", "a\t-1", "a\t3.5", "a 3", "a\tunknown", "", "a\t"):
        assert read_lines(said, ["a"]) is None, said


def test_levels_are_those_of_bills_et_al() -> None:
    assert levels([-1.0, 0.0, 0.99, 1.0, 9.99, 10.0, 20.0], 10.0).tolist() == [0, 0, 0, 1, 9, 10, 10]
    assert levels([1.0], 0.0).tolist() == [0]
    assert levels(np.arange(11) * 0.1, 1.0).tolist() == list(range(11))
