"""Searches among the features of an atlas, in memory: by words, by a token, by effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monosema.core import InputError
from monosema.server.listing import Found

if TYPE_CHECKING:
    from monosema.pages.features import FeatureTables


class Searches:
    """An atlas's features ready to be searched."""

    def __init__(self, tables: FeatureTables) -> None:
        self.tables = tables
        self._tokens = [text.strip().lower() for text in tables.words]
        self._labels = [text.lower() for text in tables.labels]

    def token(self, text: str) -> Found:
        """Find features that fire on a token; `fit` is its share of their activation."""
        rows, share = self._weights("top_tokens", self._exactly(text))
        found, inverse = np.unique(rows, return_inverse=True)
        return Found(found, np.bincount(inverse, share, found.size).astype(np.float64), "token")

    def effect(self, text: str) -> Found:
        """Find features that promote or suppress a token; `fit` is the size of the logit at their maximum."""
        ids = self._exactly(text)
        sides = [self._weights(name, ids) for name in ("promoted", "suppressed")]
        rows, logit = (np.concatenate(part) for part in zip(*sides, strict=True))
        size = np.abs(logit * self.tables.columns["max"][rows]).astype(np.float64)
        order = np.lexsort((-size, rows))
        found, first = np.unique(rows[order], return_index=True)
        return Found(found, size[order][first], "effect")

    def words(self, text: str) -> Found:
        """Find features that all words of a text fit: top tokens, labels, promoted tokens."""
        words = text.lower().split()
        if not words:
            raise InputError("Say what to search for: a word of a label, or a token.")
        fits = [self._word(word) for word in words]
        rows = np.flatnonzero(np.min(fits, axis=0) > 0)
        return Found(rows, np.sum(fits, axis=0)[rows], "words")

    def _word(self, word: str) -> NDArray[np.float64]:
        fit = np.zeros(len(self.tables))
        ids = [id for id, text in enumerate(self._tokens) if text == word]
        rows, share = self._weights("top_tokens", ids)
        np.add.at(fit, rows, 3 * share)
        fit[rows] += 1
        rows, _ = self._weights("promoted", ids)
        fit[np.unique(rows)] += 0.5
        fit[[row for row, label in enumerate(self._labels) if word in label]] += 1
        return fit

    def _exactly(self, text: str) -> list[int]:
        return [id for id, word in enumerate(self.tables.words) if text in (word, word.strip())]

    def _weights(self, name: str, ids: list[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows that have one of these tokens in a list, and its weight there."""
        lists, weights = self.tables.lists[name], self.tables.weights[name]
        at = np.flatnonzero(np.isin(lists.values, ids))
        return np.searchsorted(lists.first, at, side="right") - 1, weights.values[at]
