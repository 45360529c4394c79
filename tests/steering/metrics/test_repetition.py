"""Repetition: counts of n-grams and of deflated bytes, at the edges too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monosema.steering.metrics.repetition import deflated_bytes, distinct_ngrams

TOKENS = st.lists(st.integers(0, 5), max_size=30)


@given(TOKENS, st.integers(1, 4))
def test_ngrams_are_counted_as_by_hand(tokens: list[int], n: int) -> None:
    every = [tokens[at : at + n] for at in range(max(0, len(tokens) - n + 1))]
    different: list[list[int]] = []
    for gram in every:
        if gram not in different:
            different.append(gram)
    assert distinct_ngrams(tokens, n) == (len(different), len(every))


@given(TOKENS, st.integers(1, 4))
def test_a_text_said_twice_has_a_smaller_share_of_different_ngrams(tokens: list[int], n: int) -> None:
    once, all_once = distinct_ngrams(tokens, n)
    twice, all_twice = distinct_ngrams(tokens * 2, n)
    assert once <= all_once
    if len(tokens) >= 2 * n:
        assert twice / all_twice < once / all_once or twice < all_twice


@given(st.text(max_size=50))
def test_any_text_has_a_size(text: str) -> None:
    packed, whole = deflated_bytes(text)
    assert whole == len(text.encode())
    assert (packed > 0) == (whole > 0)


def test_circles_pack_better_than_prose() -> None:
    prose, circle = "The miller had three sons, a donkey and a cat.", "the cat the cat the cat the cat the cat the ca"
    assert deflated_bytes(circle)[0] < 0.5 * deflated_bytes(prose)[0]
    assert deflated_bytes("") == (0, 0)
