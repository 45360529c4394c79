"""What a step must agree on with other processes, where several share a batch or the latents of one dictionary.

Processes form a grid: `groups` share the rows of a batch, `shards` share the latents. Within `shared_by`, the
differentiable kernels and the batch's statistics ask the grid for what no process knows alone: sums over rows, the
largest among all latents, reconstructions that every shard adds to. Outside, and in a single process, nothing is asked
and nothing costs.

Gradients need no communication on the way back. A reconstruction is summed over shards forwards, and its gradient is
the same in all of them. Only the centre that is taken from the input gets a part of its gradient in each shard: those
parts are put aside (`part_of_gradient`) and summed once, after the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


@runtime_checkable
class Grid(Protocol):
    """The processes that work on one step together.

    Attributes:
        groups: parts of the batch, of equal size but within `uneven_rows`.
        shards: parts of the latents, of equal size.
        shard: which of them this process has.
    """

    groups: int
    shards: int
    shard: int

    def sum_over_rows(self, total: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The sum of what each group knows, without gradient."""
        ...

    def sum_over_latents(self, part: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The sum of what each shard computed; the gradient passes through as it is."""
        ...

    def part_of_gradient(self, centre: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        """The same vector, whose gradient here is a part: put aside until all parts are summed."""
        ...

    def largest_of_rows(self, values: Float[Tensor, "n k_of_shard"], k: int) -> Bool[Tensor, "n k_of_shard"]:
        """Which of this shard's values are among the k largest positive ones of their row, over all shards."""
        ...

    def largest_of_all(self, values: Float[Tensor, " entries"], number: int) -> Bool[Tensor, " entries"]:
        """Which of this process's positive values are among the `number` largest of all processes."""
        ...

    def total(self, number: int) -> int:
        """The sum of a number over all processes."""
        ...

    def lowest(self, number: float) -> float:
        """The smallest of a number over all processes."""
        ...

    def numbers_of_shards(self, number: int) -> tuple[int, ...]:
        """What each shard says, in order."""
        ...


_current: ContextVar[Grid | None] = ContextVar("grid", default=None)


def grid() -> Grid | None:
    """The grid that this step is shared by; None in a single process."""
    return _current.get()


@contextmanager
def shared_by(processes: Grid | None) -> Iterator[None]:
    """Within it, kernels and statistics are those of a batch and of latents that these processes share."""
    token = _current.set(processes)
    try:
        yield
    finally:
        _current.reset(token)


_mean_rows: ContextVar[float | None] = ContextVar("rows of a group, on average", default=None)


@contextmanager
def uneven_rows(rows: Float[Tensor, "n d"]) -> Iterator[None]:
    """Within it, groups have different numbers of rows; these are this group's."""
    together = grid()
    if together is None:
        yield
        return
    number = torch.tensor(len(rows), dtype=torch.float32, device=rows.device)
    token = _mean_rows.set(float(together.sum_over_rows(number)) / together.groups)
    try:
        yield
    finally:
        _mean_rows.reset(token)


def rows_of_part(number: int) -> float:
    """What sums over this process's rows are divided by, so that the mean over groups is that over the whole batch:
    their number, or its mean over groups within `uneven_rows`."""
    mean = _mean_rows.get()
    return float(number) if mean is None else mean


def summed_over_latents(part: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """A decoded matrix, with what the other shards add to it."""
    together = grid()
    return part if together is None or together.shards == 1 else together.sum_over_latents(part)


def kept_of_rows(values: Float[Tensor, "n k_of_shard"], k: int) -> Float[Tensor, "n k_of_shard"]:
    """This shard's largest values of each row, 0 where they aren't among the k largest of all shards."""
    together = grid()
    return values if together is None or together.shards == 1 else values * together.largest_of_rows(values, k)


def own_centre(centre: Any) -> Any:
    """The centre as an encoder of this process's latents takes it from the input."""
    together = grid()
    return centre if centre is None or together is None or together.shards == 1 else together.part_of_gradient(centre)
