"""Which words stand in which features' strongest passages, in memory: built in one pass over the file.

A word here is a token without case and blanks; a longer word is looked for by the tokens that it is made of. Of each
feature and word is known in how many of the strongest passages the feature is active on it, and in how many it occurs;
words that it is not active on are kept where they occur in about a quarter of the passages.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosema.pages.tables import column, plain, rows_of

_OFTEN = 0.25
_SHORTEST_PREFIX = 3
_LONGEST_PART = 40


class Words:
    """The vocabulary as words.

    Attributes:
        of_token: number of the word of each token id.
        texts: of the words, sorted.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        plain = [token.strip().lower() for token in tokens]
        self.texts = sorted(set(plain))
        place = {text: number for number, text in enumerate(self.texts)}
        self.of_token = np.array([place[text] for text in plain], np.int32)
        self._begins = {token.strip().lower() for token in tokens if token.startswith(" ")} or set(plain)

    def exact(self, word: str) -> list[int]:
        """Return the number of a word, where it is one token."""
        at = bisect.bisect_left(self.texts, word)
        return [at] if at < len(self.texts) and self.texts[at] == word else []

    def like(self, word: str) -> list[int]:
        """Return the numbers of words that begin so; of a short word only its own."""
        first = bisect.bisect_left(self.texts, word)
        if len(word) < _SHORTEST_PREFIX:
            return self.exact(word)
        last = bisect.bisect_right(self.texts, word + "\U0010ffff")
        return [at for at in range(first, last) if self.texts[at] == word or self.texts[at] in self._begins]

    def parts(self, word: str) -> list[int]:
        """Return the numbers of the tokens that a word is made of, the longest first part each time; none where it
        can't be made."""
        found = []
        while word:
            length = next((n for n in range(min(len(word), _LONGEST_PART), 0, -1) if self.exact(word[:n])), 0)
            if not length:
                return []
            found += self.exact(word[:length])
            word = word[length:]
        return found


class PassageWords:
    """Counts of strongest passages by word and feature.

    Attributes:
        words: the vocabulary.
    """

    def __init__(
        self, words: Words, path: Any, latents: NDArray[np.int64], wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Read the file of passages, as long as it is wanted.

        Args:
            latents: the rows' numbers, sorted.
        """
        import pyarrow.parquet as pq

        self.words = words
        self.passages = np.zeros(latents.size, np.int32)
        parts: list[tuple[NDArray[Any], ...]] = []
        file = pq.ParquetFile(path)
        columns = ["latent", "kind", "token_ids", "activations"]
        for number in range(file.metadata.num_row_groups):
            if not wanted():
                break
            table = file.read_row_group(number, columns=columns, use_threads=False)
            table = rows_of(table, "kind", "top")
            if table.num_rows:
                parts.append(self._count(table, latents))
        row, word, active, anywhere = _joined(parts)
        order = np.argsort(word, kind="stable")
        self._first = np.searchsorted(word, np.arange(len(words.texts) + 1), sorter=order)
        self._row, self._active, self._anywhere = row[order], active[order], anywhere[order]

    def _count(self, table: Any, latents: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        """Return features' rows, words, and the numbers of passages with the word active, and with it anywhere."""
        n = len(self.words.texts)
        row = np.searchsorted(latents, column(table, "latent", np.int64))
        ids = table["token_ids"].combine_chunks()
        lengths = np.diff(plain(ids.offsets))
        passage = np.repeat(np.arange(len(row)), lengths)
        off = plain(table["activations"].combine_chunks().flatten()) <= 0
        # One entry for each passage and word in it, an active one where there are both kinds.
        entry = np.sort((passage * n + self.words.of_token[plain(ids.flatten())]) * 2 + off)
        entry = entry[_begins(entry // 2)]
        # (entries,): feature and word, and whether inactive; equal ones stand beside each other once sorted.
        pair = np.sort((row[entry // (2 * n)] * n + entry // 2 % n) * 2 + entry % 2)
        begins = np.flatnonzero(_begins(pair // 2))
        anywhere = np.diff(np.append(begins, pair.size))
        active = anywhere - np.add.reduceat(pair % 2, begins) if begins.size else anywhere
        passages = np.bincount(row, minlength=latents.size)
        self.passages += passages.astype(np.int32)
        pair = pair[begins] // 2
        kept = (active > 0) | (anywhere >= _OFTEN * passages[pair // n])
        counts = (np.minimum(found[kept], 255).astype(np.uint8) for found in (active, anywhere))
        return (pair[kept] // n).astype(np.int32), (pair[kept] % n).astype(np.int32), *counts

    def shares(self, word: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return for each feature the share of its strongest passages with the word on active tokens, and anywhere."""
        like = self.words.like(word)
        if like:
            return self._sum(like)
        parts = [self._sum([part]) for part in self.words.parts(word)]
        if not parts:
            nothing = np.zeros(self.passages.size, np.float32)
            return nothing, nothing
        return np.min([one for one, _ in parts], axis=0), np.min([one for _, one in parts], axis=0)

    def _sum(self, words: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        active, anywhere = (np.zeros(self.passages.size, np.float32) for _ in range(2))
        for word in words:
            part = slice(self._first[word], self._first[word + 1])
            active[self._row[part]] += self._active[part]
            anywhere[self._row[part]] += self._anywhere[part]
        most = np.maximum(self.passages, 1).astype(np.float32)
        return np.minimum(active / most, 1), np.minimum(anywhere / most, 1)


def _begins(sorted_values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where another value than the one before begins."""
    return np.concatenate([np.ones(min(1, sorted_values.size), np.bool_), np.diff(sorted_values) != 0])


def _joined(parts: Sequence[tuple[NDArray[Any], ...]]) -> tuple[NDArray[Any], ...]:
    """Put the groups behind each other; the last feature of a group may go on in the next."""
    if not parts:
        return np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.uint8)
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))
