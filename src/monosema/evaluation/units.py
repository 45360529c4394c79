"""Sums over tokens, kept apart by the units that an interval may draw: documents, or windows where documents are few.

Tokens of one document depend on each other, so an interval that drew tokens would be far too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from monosema.core import Estimate, bootstrap_ratio, numpy_generator
from monosema.data import TokenBatch

MIN_DOCUMENTS = 30
"""With fewer documents, windows are the units."""
_GROUPS = 2000
"""More units than this are first thrown together at random into so many groups; sums of groups are as good to draw."""
_SUM, _TOTAL = "sum.", "total."
_DOCUMENT, _WINDOW, _WINDOWS = "document", "window", "windows"
Part = Mapping[str, NDArray[Any]]
"""All that was summed up in one stretch of the text, as arrays by name."""


class UnitSums:
    """Named sums over the kept tokens, by unit, and totals of what belongs to no unit.

    Each batch is announced by `begin`, then its metrics are given by `add`, one value for each kept token. Sums are
    kept by the tokens of one document in one window, the finest unit, of which either kind is made. `close` ends a part
    that can be written down, and given to `restore` by a later process.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._parts: list[Part] = []
        self._open: dict[str, list[NDArray[Any]]] = {}
        self._windows = 0
        self._vectors = False
        self._owner = torch.zeros(0, dtype=torch.int64)
        self._size = 0

    def begin(self, batch: TokenBatch) -> None:
        """Announce a batch."""
        window = torch.arange(len(batch.tokens))[:, None].expand_as(batch.tokens)[batch.keep] + self._windows
        document = batch.document[batch.keep]
        pairs, self._owner = torch.unique(torch.stack([window, document]), dim=1, return_inverse=True)
        self._announce(pairs[1].numpy(), pairs[0].numpy(), len(batch.tokens))

    def begin_rows(self, n: int) -> None:
        """Announce n vectors that belong to no text; each is a unit."""
        document = np.arange(self._windows, self._windows + n)
        self._owner = torch.arange(n)
        self._vectors = True
        self._announce(document, document, n)

    def _announce(self, document: NDArray[np.int64], window: NDArray[np.int64], windows: int) -> None:
        self._put(_DOCUMENT, document)
        self._put(_WINDOW, window)
        self.count(_WINDOWS, torch.tensor([windows]))
        self._windows += windows
        self._size = len(document)

    def add(self, name: str, values: Float[Tensor, "n *rest"]) -> None:
        """Add up one metric of the kept tokens of the batch, in float64."""
        values = values.detach().to(torch.float64).cpu()
        total = torch.zeros(self._size, *values.shape[1:], dtype=torch.float64).index_add_(0, self._owner, values)
        self._put(_SUM + name, total.numpy())

    def count(self, name: str, values: Int[Tensor, "*rest"]) -> None:
        """Add whole numbers to a total over all batches."""
        there = self._open.setdefault(_TOTAL + name, [np.zeros(values.shape, np.int64)])
        there[0] += values.cpu().numpy()

    def total(self, name: str) -> NDArray[np.int64]:
        """The total of this name. Raises KeyError where nothing was counted."""
        return np.asarray(sum(self._all(_TOTAL + name)[1:], self._all(_TOTAL + name)[0]))

    def close(self) -> Part:
        """End a part: what was added since the last one."""
        # Joined even where it is one array: files need what lies together.
        part = {name: np.concatenate(arrays) for name, arrays in self._open.items()}
        self._open = {}
        self._parts.append(part)
        return part

    def restore(self, part: Part) -> None:
        """Add a part that `close` gave, between batches."""
        self._parts.append(part)
        self._windows += int(part[_TOTAL + _WINDOWS][0])

    @property
    def unit(self) -> str:
        """Name of the resampling units, in the plural."""
        if self._vectors:
            return "vectors"
        return "documents" if len(np.unique(self._numbers(_DOCUMENT))) >= MIN_DOCUMENTS else "windows"

    def __len__(self) -> int:
        """Number of units."""
        return int(self._groups.max(initial=-1)) + 1

    def __contains__(self, name: str) -> bool:
        return bool(self._all(_SUM + name, needed=False))

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """The sums of one metric, one row a unit. Raises KeyError where nothing was added."""
        values = np.concatenate(self._all(_SUM + name))
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

    def _put(self, name: str, values: NDArray[Any]) -> None:
        self._open.setdefault(name, []).append(values)

    def _all(self, name: str, *, needed: bool = True) -> list[NDArray[Any]]:
        found = [part[name] for part in self._parts if name in part] + self._open.get(name, [])
        if needed and not found:
            raise KeyError(name)
        return found

    def _numbers(self, field: str) -> NDArray[np.int64]:
        return np.concatenate([np.zeros(0, np.int64), *self._all(field, needed=False)])

    @property
    def _groups(self) -> NDArray[np.int64]:
        """The unit of each stretch of tokens."""
        return np.unique(self._numbers(_WINDOW if self.unit == "windows" else _DOCUMENT), return_inverse=True)[1]
