"""Searches among the features of an atlas, in memory: by words, by a token, by effect.

The fit of words is the relevance that `atlas.searches.by_text` gives, from the same parts with the same weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monosema.core import InputError
from monosema.server.listing import Found
from monosema.server.passages import PassageWords, Words

if TYPE_CHECKING:
    from monosema.pages.features import FeatureTables

_MOST_WORDS = 12
_NOT_LETTERS = re.compile(r"[\W_]+")


class Searches:
    """An atlas's features ready to be searched.

    Attributes:
        passages: words of the passages; None until `read_passages` is done.
    """

    def __init__(self, tables: FeatureTables) -> None:
        self.tables = tables
        self.words_of = Words(tables.words)
        self.passages: PassageWords | None = None
        self._places = {name: Postings(lists.values) for name, lists in tables.lists.items()}
        self._labels = Texts(tables.labels)
        latents, texts = tables.judgements.texts()
        self._other_rows = np.searchsorted(tables.latent, latents)
        self._others = Texts(texts)

    def read_passages(self, path: Any, wanted: Callable[[], bool] = lambda: True) -> None:
        """Index the words of the strongest passages, as long as it is wanted; until then a search does without."""
        passages = PassageWords(self.words_of, path, self.tables.latent, wanted)
        if wanted():  # else they are not all there
            self.passages = passages

    def token(self, text: str) -> Found:
        """Find features that fire on a token, the most devoted first; `fit` is its share of their activation."""
        rows, share = self._weights("top_tokens", self._exactly(text))
        found, inverse = np.unique(rows, return_inverse=True)
        return Found(found, np.bincount(inverse, share, found.size).astype(np.float64), "token")

    def effect(self, text: str) -> Found:
        """Find features that promote or suppress a token; `fit` is the size of the logit at their maximum."""
        ids = self._exactly(text)
        sides = [self._weights(name, ids) for name in ("promoted", "suppressed")]
        rows, logit = (np.concatenate(part) for part in zip(*sides, strict=True))
        effect = (logit * self.tables.columns["max"][rows]).astype(np.float64)
        order = np.lexsort((-np.abs(effect), rows))
        found, first = np.unique(rows[order], return_index=True)
        signed = effect[order][first]

        def why(row: int) -> str:
            return f"{signed[np.searchsorted(found, row)]:+.3g} on its logit"

        return Found(found, np.abs(signed), "effect", why)

    def words(self, text: str) -> Found:
        """Find features that all words of a text fit: top tokens, labels, explanations, promoted tokens, passages.

        Raises:
            InputError: the text has no word.
        """
        from monosema.atlas.searches import reason

        words = text.lower().split()[:_MOST_WORDS]
        if not words:
            raise InputError("Say what to search for: a word of a label, or a token.")
        parts = [self._word(word) for word in words]
        fits = [_relevance(one) for one in parts]
        rows = np.flatnonzero(np.min(fits, axis=0) > 0)

        def why(row: int) -> str:
            named = (
                {"word": word, **{name: values[row].item() for name, values in one.items()}}
                for word, one in zip(words, parts, strict=True)
            )
            return reason(list(named))

        return Found(rows, np.sum(fits, axis=0)[rows], "words", why)

    def _word(self, word: str) -> dict[str, NDArray[Any]]:
        """Return by name for each feature how the word fits it."""
        n = len(self.tables)
        share, in_label, in_others = (np.zeros(n, np.float32) for _ in range(3))
        is_promoted = np.zeros(n, np.bool_)
        ids = np.flatnonzero(np.isin(self.words_of.of_token, self.words_of.exact(word))).tolist()
        rows, weights = self._weights("top_tokens", ids)
        np.add.at(share, rows, weights)
        is_promoted[self._weights("promoted", ids)[0]] = True
        labels, fits = self._labels.holding(word)
        np.maximum.at(in_label, labels, fits)
        other, fits = self._others.holding(word)
        np.maximum.at(in_others, self._other_rows[other], fits)
        parts = {"share": share, "in_label": in_label, "in_others": in_others, "is_promoted": is_promoted}
        heard = (np.zeros(n, np.float32),) * 2 if self.passages is None else self.passages.shares(word)
        return {**parts, "on_active": heard[0], "anywhere": heard[1]}

    def _exactly(self, text: str) -> list[int]:
        near = np.flatnonzero(np.isin(self.words_of.of_token, self.words_of.exact(text.strip().lower()))).tolist()
        return [id for id in near if text in (self.tables.words[id], self.tables.words[id].strip())]

    def _weights(self, name: str, ids: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows that have one of these tokens in a list, and its weight there."""
        at = self._places[name].of(ids)
        return np.searchsorted(self.tables.lists[name].first, at, side="right") - 1, self.tables.weights[name].values[
            at
        ]


class Postings:
    """Where each number stands in a column of small numbers from 0."""

    def __init__(self, column: NDArray[np.integer]) -> None:
        order = np.argsort(column, kind="stable")
        self._first = np.searchsorted(column, np.arange(column.max(initial=-1) + 2), sorter=order)
        self._places = order.astype(np.int32)

    def of(self, numbers: Iterable[int]) -> NDArray[np.int32]:
        """Return the places of these numbers, one number after the other."""
        known = (number for number in numbers if number + 1 < self._first.size)
        parts = [self._places[self._first[number] : self._first[number + 1]] for number in known]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)


class Texts:
    """Texts to be searched for words, whatever their case.

    A word has no blank, so it stands within one of the pieces that blanks cut a text into. These repeat from text to
    text: what is looked through is each different piece, once.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        pieces = [[numbers.setdefault(piece, len(numbers)) for piece in text.lower().split()] for text in texts]
        self._text = np.repeat(np.arange(len(pieces), dtype=np.int32), [len(one) for one in pieces])
        self._places = Postings(np.array([number for one in pieces for number in one], np.int32))
        self._pieces = list(numbers)
        self._joined = "\n".join(self._pieces)
        self._begins = np.cumsum([0, *(len(piece) + 1 for piece in self._pieces)])

    def holding(self, word: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return which texts have a word in lower case, and how: 2 as a whole word, 1 as a part of one.

        A text is there once for each of its pieces that has the word.
        """
        hits = [hit.start() for hit in re.finditer(re.escape(word), self._joined)]
        found = np.unique(np.searchsorted(self._begins, hits, side="right") - 1).tolist()
        whole = [2.0 if word in _NOT_LETTERS.split(self._pieces[number]) else 1.0 for number in found]
        parts = [self._places.of([number]) for number in found]
        fits = np.repeat(np.array(whole, np.float32), [part.size for part in parts])
        return self._text[np.concatenate(parts) if parts else np.zeros(0, np.int32)], fits


def _relevance(one: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    share = np.where(one["share"] > 0, 1 + 3 * one["share"], 0)
    rest = np.maximum(one["in_label"], one["in_others"]) + 0.5 * one["is_promoted"]
    return (share + rest + 2 * one["on_active"] + 0.3 * one["anywhere"]).astype(np.float64)
