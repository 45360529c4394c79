"""Sums over tokens, kept apart by the units that an interval may draw: documents, or windows where documents are few.

Tokens of one document depend on each other, so an interval that drew tokens would be far too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from monosema.core import Estimate, bootstrap_ratio, numpy_generator
from monosema.data import TokenBatch

__all__ = ["MIN_DOCUMENTS", "UnitSums"]

MIN_DOCUMENTS = 30
"""With fewer documents, windows are the units."""
_GROUPS = 2000
"""More units than this are first thrown together at random into so many groups; sums of groups are as good to draw."""


@dataclass
class _Stretches:
    """Tokens of one document in one window; the finest unit, of which either kind is made."""

    document: NDArray[np.int64]
    window: NDArray[np.int64]


class UnitSums:
    """Named sums over the kept tokens, by unit.

    Each batch is announced by `begin`, then its figures are given by `add`, one value for each kept token.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._stretches: list[_Stretches] = []
        self._sums: dict[str, list[NDArray[np.float64]]] = {}
        self._windows = 0
        self._vectors = False
        self._owner = torch.zeros(0, dtype=torch.int64)

    def begin(self, batch: TokenBatch) -> None:
        """Announce a batch."""
        window = torch.arange(len(batch.tokens))[:, None].expand_as(batch.tokens)[batch.keep] + self._windows
        document = batch.document[batch.keep]
        pairs, self._owner = torch.unique(torch.stack([window, document]), dim=1, return_inverse=True)
        self._stretches.append(_Stretches(pairs[1].numpy(), pairs[0].numpy()))
        self._windows += len(batch.tokens)

    def begin_rows(self, n: int) -> None:
        """Announce n vectors that belong to no text; each is a unit."""
        document = np.arange(self._windows, self._windows + n)
        self._owner = torch.arange(n)
        self._stretches.append(_Stretches(document, document))
        self._windows += n
        self._vectors = True

    def add(self, name: str, values: Float[Tensor, "n *rest"]) -> None:
        """Add up one figure of the kept tokens of the batch, in float64."""
        values = values.detach().to(torch.float64).cpu()
        size = len(self._stretches[-1].window)
        total = torch.zeros(size, *values.shape[1:], dtype=torch.float64).index_add_(0, self._owner, values)
        self._sums.setdefault(name, []).append(total.numpy())

    @property
    def unit(self) -> str:
        """What the units are, in the plural."""
        if self._vectors:
            return "vectors"
        return "documents" if len(self._documents) >= MIN_DOCUMENTS else "windows"

    def __len__(self) -> int:
        """Number of units."""
        return int(self._groups.max(initial=-1)) + 1

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """The sums of one figure, one row a unit."""
        values = np.concatenate(self._sums[name])
        sums = np.zeros((len(self), *values.shape[1:]))
        np.add.at(sums, self._groups, values)
        return sums

    def ratio(self, top: NDArray[Any], bottom: NDArray[Any]) -> Estimate:
        """Ratio of two sums over all units, with an interval that draws units.

        Raises:
            ValueError: there are no units, or the denominators sum to 0.
        """
        n = len(top)
        if n > _GROUPS:
            group = numpy_generator(self._seed, "groups").permutation(n) % _GROUPS
            top, bottom = (np.bincount(group, sums, _GROUPS) for sums in (top, bottom))
        estimate = bootstrap_ratio(top, bottom, self._seed)
        return replace(estimate, n=n, method=f"bootstrap over {self.unit}")

    @property
    def _documents(self) -> NDArray[np.int64]:
        return np.unique(np.concatenate([part.document for part in self._stretches] or [np.zeros(0, np.int64)]))

    @property
    def _groups(self) -> NDArray[np.int64]:
        """The unit of each stretch."""
        field = "window" if self.unit == "windows" else "document"
        numbers = np.concatenate([getattr(part, field) for part in self._stretches] or [np.zeros(0, np.int64)])
        return np.unique(numbers, return_inverse=True)[1]
