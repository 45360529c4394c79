"""Batches of items: rows of one token each, and their split into training items and held-out ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from monosema.core import CorpusError
from monosema.data import TextConfig, TokenBatch, TokenCounts
from monosema.items.table import Items

BATCH = 1024


class ItemBatches(Iterator[TokenBatch]):
    """All items of a split, in the order of their rows.

    An item is held out where a hash of its row's number says so: `heldout_share` of all, spread evenly over the file,
    however that is sorted. Where fewer are wanted than there are, they are drawn alike.

    Attributes:
        counts: what was given so far.
    """

    def __init__(self, items: Items, config: TextConfig) -> None:
        """`config` gives the split, the share that is held out, and the most items (`tokens`)."""
        self.counts = TokenCounts()
        self._items, self._config = items, config
        self._batches = self._read()

    def __next__(self) -> TokenBatch:
        batch = next(self._batches)
        self.counts.add(batch)
        return batch

    def _read(self) -> Iterator[TokenBatch]:
        split, share = self._config.split, self._config.heldout_share
        rows = np.arange(len(self._items))
        if split != "all":
            rows = rows[is_heldout(rows, share) == (split == "heldout")]
        if not len(rows):
            raise CorpusError(
                f"No item of {self._items.name} is in the {split} split: {len(self._items):,} items are too few for "
                f"heldout_share = {share}. Give more items, or another --heldout-share."
            )
        if self._config.tokens is not None and self._config.tokens < len(rows):
            rows = np.sort(rows[np.argsort(_mix(rows, 1), kind="stable")[: self._config.tokens]])
        for low in range(0, len(rows), BATCH):
            ids = torch.from_numpy(rows[low : low + BATCH, None])
            real = torch.ones_like(ids, dtype=torch.bool)
            yield TokenBatch(ids, real, ids, torch.zeros_like(ids), real)


def is_heldout(rows: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Return a mask of the rows that are held out: about `share` of them, by a hash of their number (splitmix64)."""
    return _mix(rows, 0).astype(np.float64) * 2.0**-64 < share


def _mix(rows: NDArray[np.int64], salt: int) -> NDArray[np.uint64]:
    values = (2 * rows.astype(np.uint64) + np.uint64(1 + salt)) * np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
