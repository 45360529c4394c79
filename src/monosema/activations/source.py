"""Rows of activations on disk: the protocol that streams and statistics need, and copying runs of rows over several
files. A captured store and a matrix of anybody's vectors both give it."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from monosema.activations.codec import Coded
from monosema.core import Site

VECTORS = Site(None, "vectors")
"""Site of rows that come from no model."""


@runtime_checkable
class RowSource(Protocol):
    """Rows of activations, numbered from 0, the same row at every site being the same token."""

    @property
    def name(self) -> str:
        """Path, for messages."""
        ...

    @property
    def digest(self) -> str:
        """A short hash of the content, for resume."""
        ...

    @property
    def sites(self) -> tuple[Site, ...]:
        """Sites that there are rows of."""
        ...

    @property
    def rows(self) -> int:
        """Number of rows."""
        ...

    def width(self, site: Site | str) -> int:
        """Values in a row."""
        ...

    def row_bytes(self, site: Site | str) -> float:
        """Bytes of a row as stored."""
        ...

    def gather(self, site: Site | str, ranges: Sequence[Range]) -> Coded:
        """Copies of the rows of all ranges, as stored; no file stays in memory."""
        ...

    def read(self, site: Site | str, start: int, stop: int) -> Float[Tensor, "n width"]:
        """Rows start … stop - 1 in float32, copied."""
        ...


Range = tuple[int, int]
"""First row, and one past the last."""


def runs_by_file(starts: Sequence[int], ranges: Iterable[Range]) -> Iterator[tuple[int, list[Range]]]:
    """Cut ranges of all rows at the files' borders: (file, ranges of its own rows), files in the order of the ranges.

    Args:
        starts: first row of each file, and the number of all rows at the end.

    Raises IndexError where a range is not within the rows. At least one file is named, if only for an empty range.
    """
    current, runs = -1, list[Range]()
    for start, stop in ranges:
        if not 0 <= start <= stop <= starts[-1]:
            raise IndexError(f"Rows {start}:{stop} are not within the {starts[-1]} rows there are.")
        index = min(bisect.bisect_right(starts, start), len(starts) - 1) - 1
        while True:
            if index != current:
                if runs:
                    yield current, runs
                current, runs = index, []
            low, high = starts[index], starts[index + 1]
            runs.append((start - low, min(stop, high) - low))
            if stop <= high:
                break
            start, index = high, index + 1
    yield current, runs


def copy_runs(
    out: Shaped[Tensor, "total *width"], at: int, source: Shaped[Tensor, "rows *width"], runs: Iterable[Range]
) -> int:
    """Copy runs of `source` into `out` from row `at` on; the row after the last one copied."""
    for start, stop in runs:
        torch.narrow(out, 0, at, stop - start).copy_(source[start:stop])
        at += stop - start
    return at


def place_of(source: RowSource, site: Site) -> str:
    """Return a source and a site for messages; of vectors that come from no model, the source alone."""
    return source.name if site == VECTORS else f"{source.name} at {site.short}"
