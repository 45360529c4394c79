"""Runs of rows over files that lie one below the other."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

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
