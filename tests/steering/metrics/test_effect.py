"""Effects: words that are counted, and words that are learned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monosema.core import InputError
from monosema.steering.metrics.bag_of_words import BagOfWords
from monosema.steering.metrics.effect import Lexicon, accuracy

GOOD = ["a lovely day", "lovely and warm", "what a lovely song", "so warm!"]
BAD = ["an awful day", "awful and cold", "what an awful song", "so cold!"]


def test_words_are_counted_whole_and_in_any_case() -> None:
    effect = Lexicon(frozenset({"Good"}), frozenset({"bad"}))
    assert effect(["GOOD, good!", "bad", "goodness", ""]).tolist() == [2.5 / 3, 0.25, 0.5, 0.5]
    assert Lexicon(frozenset({"mary"}))(["I met Mary.", "maryland", ""]).tolist() == [1, 0, 0]
    with pytest.raises(InputError):
        Lexicon(frozenset())


def test_a_classifier_is_learned_and_says_nothing_of_what_it_does_not_know() -> None:
    effect = BagOfWords(GOOD, BAD)
    assert accuracy(effect, ["lovely, warm"], ["awful, cold"]).value == 1
    assert effect(["xyzzy", ""]).tolist() == [0.5, 0.5]
    assert effect([]).tolist() == []
    with pytest.raises(InputError, match="texts that show the concept"):
        BagOfWords(GOOD, [])


@given(st.lists(st.text(max_size=20), max_size=5))
def test_scores_are_shares(texts: list[str]) -> None:
    for effect in (Lexicon(frozenset("a")), Lexicon(frozenset("a"), frozenset("b")), BagOfWords(GOOD, BAD)):
        scores = effect(texts)
        assert scores.shape == (len(texts),)
        assert np.all((scores >= 0) & (scores <= 1))
