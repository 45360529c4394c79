"""An interpolated Kneser–Ney trigram over tokens: the baseline that a language model has to beat.

Kneser & Ney 1995; Chen & Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling", the
interpolated form with one discount D = n₁ / (n₁ + 2 n₂) per order:

    p(w | u v) = max(c(u v w) − D₃, 0) / c(u v ·) + D₃ N(u v ·) / c(u v ·) · p(w | v)
    p(w | v)   = max(N(· v w) − D₂, 0) / N(· v ·) + D₂ N(v ·) / N(· v ·) · p(w)
    p(w)       = max(N(· w) − D₁, 0) / N(· ·) + D₁ |{w : N(· w) > 0}| / N(· ·) · 1 / V

where c counts occurrences and N counts distinct neighbours. Contexts never seen fall through to the next order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monosema.core.errors import InputError

Keys = NDArray[np.int64]
Values = NDArray[np.float64]


def _discount(counts: Keys) -> float:
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.5


def _look_up(keys: Keys, values: Values, wanted: Keys) -> Values:
    """Value of each wanted key in a sorted table, 0 where it is missing."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0.0)


@dataclass(frozen=True)
class _Order:
    """One order of the model: sorted n-gram keys with their (continuation) counts, and totals by context."""

    keys: Keys
    counts: Values
    contexts: Keys
    totals: Values
    kinds: Values
    discount: float

    @classmethod
    def of(cls, keys: Keys, counts: Keys, vocabulary: int) -> _Order:
        contexts, first = np.unique(keys // vocabulary, return_index=True)
        totals = np.add.reduceat(counts, first).astype(np.float64)
        kinds = np.diff(np.append(first, len(keys))).astype(np.float64)
        return cls(keys, counts.astype(np.float64), contexts, totals, kinds, _discount(counts))

    def interpolate(self, context: Keys, word: Keys, vocabulary: int, lower: Values) -> Values:
        """Probability of `word` after `context`, given the lower order's probability of it."""
        total = _look_up(self.contexts, self.totals, context)
        seen = np.maximum(_look_up(self.keys, self.counts, context * vocabulary + word) - self.discount, 0.0)
        left = self.discount * _look_up(self.contexts, self.kinds, context)
        safe = np.maximum(total, 1.0)
        return np.where(total > 0, seen / safe + left / safe * lower, lower)


@dataclass(frozen=True)
class Trigram:
    """The fitted model.

    Attributes:
        vocabulary: number of token ids.
        unigram: probability of each token.
        bigram: second order, on continuation counts.
        trigram: third order, on counts.
    """

    vocabulary: int
    unigram: Values
    bigram: _Order
    trigram: _Order

    @classmethod
    def fit(cls, tokens: NDArray[np.integer], vocabulary: int) -> Trigram:
        """Fit on one row of tokens; needs about 40 bytes of memory for each token."""
        ids = tokens.astype(np.int64)
        if len(ids) < 3:
            raise InputError(f"a trigram model needs at least 3 tokens, got {len(ids)}.")
        triples, counts = np.unique((ids[:-2] * vocabulary + ids[1:-1]) * vocabulary + ids[2:], return_counts=True)
        pairs, followers = np.unique(triples % (vocabulary * vocabulary), return_counts=True)
        words = np.bincount(pairs % vocabulary, minlength=vocabulary)
        discount = _discount(words)
        mass = discount * (words > 0).sum() / words.sum()
        unigram = np.maximum(words - discount, 0) / words.sum() + mass / vocabulary
        return cls(vocabulary, unigram, _Order.of(pairs, followers, vocabulary), _Order.of(triples, counts, vocabulary))

    def probabilities(self, first: Keys, second: Keys, word: Keys) -> Values:
        """p(word | first second), elementwise."""
        lower = self.bigram.interpolate(second, word, self.vocabulary, self.unigram[word])
        return self.trigram.interpolate(first * self.vocabulary + second, word, self.vocabulary, lower)

    def losses(self, rows: Keys) -> Values:
        """Loss in nats of every token but the first of each row; the second is predicted from the first alone."""
        opening = self.bigram.interpolate(rows[:, 0], rows[:, 1], self.vocabulary, self.unigram[rows[:, 1]])
        rest = self.probabilities(rows[:, :-2].ravel(), rows[:, 1:-1].ravel(), rows[:, 2:].ravel())
        rest = rest.reshape(len(rows), -1)
        return -np.log(np.concatenate([opening[:, None], rest], axis=1))
