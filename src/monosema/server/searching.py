"""Searches among the features of an atlas, in memory: by words, by a token, by effect.

The fit of words is the relevance that `atlas.searches.by_text` gives, from the same parts with the same weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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
        import pyarrow as pa

        self.tables = tables
        self.words_of = Words(tables.words)
        self.passages: PassageWords | None = None
        self._labels = pa.array([text.lower() for text in tables.labels])
        latents, texts = tables.judgements.texts()
        rows = np.searchsorted(tables.latent, latents).tolist()
        self._other_rows = np.array(rows, np.int64)
        self._others = pa.array([text.lower() for text in texts], pa.string())

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
        signed = dict(zip(found.tolist(), effect[order][first].tolist(), strict=True))
        return Found(found, np.abs(effect[order][first]), "effect", lambda row: f"{signed[row]:+.3g} on its logit")

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
        rows, fits = _holding(self._labels, word)
        in_label[rows] = fits
        texts, fits = _holding(self._others, word)
        np.maximum.at(in_others, self._other_rows[texts], fits)
        parts = {"share": share, "in_label": in_label, "in_others": in_others, "is_promoted": is_promoted}
        heard = (np.zeros(n, np.float32),) * 2 if self.passages is None else self.passages.shares(word)
        return {**parts, "on_active": heard[0], "anywhere": heard[1]}

    def _exactly(self, text: str) -> list[int]:
        near = np.flatnonzero(np.isin(self.words_of.of_token, self.words_of.exact(text.strip().lower()))).tolist()
        return [id for id in near if text in (self.tables.words[id], self.tables.words[id].strip())]

    def _weights(self, name: str, ids: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows that have one of these tokens in a list, and its weight there."""
        lists, weights = self.tables.lists[name], self.tables.weights[name]
        at = np.flatnonzero(np.isin(lists.values, ids))
        return np.searchsorted(lists.first, at, side="right") - 1, weights.values[at]


def _holding(texts: Any, word: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return which of the texts have a word, and how: 2 as a whole word, 1 as a part of one."""
    import pyarrow.compute as pc

    holds = np.flatnonzero(pc.match_substring(texts, word).to_numpy(zero_copy_only=False))
    whole = [word in _NOT_LETTERS.split(text) for text in texts.take(holds).to_pylist()]
    return holds, np.where(whole, 2, 1).astype(np.float32)


def _relevance(one: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    share = np.where(one["share"] > 0, 1 + 3 * one["share"], 0)
    rest = np.maximum(one["in_label"], one["in_others"]) + 0.5 * one["is_promoted"]
    return (share + rest + 2 * one["on_active"] + 0.3 * one["anywhere"]).astype(np.float64)
