"""The trigram baseline against a slow twin that reads like the equations, and its probabilities against 1."""

from collections import Counter

import numpy as np
import pytest

from monosema.core.errors import InputError
from specimen.trigram import Trigram

VOCABULARY = 7


def _slow(tokens, first, second, word):
    """The equations of the module's docstring, with counters."""

    def discount(counts):
        once, twice = sum(c == 1 for c in counts), sum(c == 2 for c in counts)
        return once / (once + 2 * twice) if once and twice else 0.5

    triples = Counter(zip(tokens, tokens[1:], tokens[2:], strict=False))
    pairs = Counter((v, w) for _, v, w in triples)
    words = Counter(w for _, w in pairs)
    d1, d2, d3 = (discount(c.values()) for c in (words, pairs, triples))
    total = sum(words.values())
    p = max(words[word] - d1, 0) / total + d1 * len(words) / total / VOCABULARY
    for table, context, d in ((pairs, (second,), d2), (triples, (first, second), d3)):
        mass = sum(c for key, c in table.items() if key[:-1] == context)
        kinds = sum(key[:-1] == context for key in table)
        if mass:
            p = max(table[(*context, word)] - d, 0) / mass + d * kinds / mass * p
    return p


@pytest.fixture(scope="module")
def tokens():
    return np.random.default_rng(0).integers(0, VOCABULARY - 1, size=60).astype(np.uint16)


def test_agrees_with_the_slow_twin_and_sums_to_one(tokens):
    model = Trigram.fit(tokens, VOCABULARY)
    words = np.arange(VOCABULARY)
    for first in range(VOCABULARY):
        for second in range(VOCABULARY):
            fast = model.probabilities(np.full(VOCABULARY, first), np.full(VOCABULARY, second), words)
            slow = [_slow(tokens.tolist(), first, second, word) for word in range(VOCABULARY)]
            np.testing.assert_allclose(fast, slow, rtol=1e-12)
            assert fast.sum() == pytest.approx(1.0)
            assert (fast > 0).all()


def test_losses_are_those_of_the_probabilities(tokens):
    model = Trigram.fit(tokens, VOCABULARY)
    row = np.array([[1, 2, 3, 4]])
    losses = model.losses(row)
    assert losses.shape == (1, 3)
    expected = model.probabilities(np.array([1, 2]), np.array([2, 3]), np.array([3, 4]))
    np.testing.assert_allclose(losses[0, 1:], -np.log(expected))


def test_too_little_text_is_refused():
    with pytest.raises(InputError, match="at least 3"):
        Trigram.fit(np.array([1, 2]), VOCABULARY)
