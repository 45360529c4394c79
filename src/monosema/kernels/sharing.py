"""Agreement of a step with other processes, where several share a batch or the latents of one dictionary.

Processes form a grid: `groups` share the rows of a batch, `shards` share the latents. The differentiable kernels and
the batch's statistics ask the grid that they are given for what no process knows alone: sums over rows, the largest
among all latents, reconstructions that every shard adds to. In a single process there is none, and nothing costs.

Gradients need no communication on the way back. A reconstruction is summed over shards forwards, and its gradient is
the same in all of them. Only the centre that is taken from the input gets a part of its gradient in each shard: those
parts are put aside (`part_of_gradient`) and summed once, after the backward pass.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Shaped
from torch import Tensor


@runtime_checkable
class Grid(Protocol):
    """The processes that work on one step together.

    Attributes:
        groups: parts of the batch, of equal size, but where a step says its mean number of rows.
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
        """Return the vector, its gradient here a part that is put aside until all parts are summed."""
        ...

    def largest_of_rows(self, values: Float[Tensor, "n k_of_shard"], k: int) -> Bool[Tensor, "n k_of_shard"]:
        """Mark this shard's values that are among the k largest positive ones of their row, over all shards."""
        ...

    def largest_of_all(self, values: Float[Tensor, " entries"], number: int) -> Bool[Tensor, " entries"]:
        """Mark this process's positive values that are among the `number` largest of all processes."""
        ...

    def total(self, number: int) -> int:
        """The sum of a number over all processes."""
        ...

    def lowest(self, number: float) -> float:
        """The smallest of a number over all processes."""
        ...

    def numbers_of_shards(self, number: int) -> tuple[int, ...]:
        """Gather each shard's values, in order."""
        ...


def summed_over_latents(part: Shaped[Tensor, "..."], grid: Grid | None) -> Shaped[Tensor, "..."]:
    """A decoded matrix, with what the other shards add to it."""
    return part if grid is None or grid.shards == 1 else grid.sum_over_latents(part)


def kept_of_rows(values: Float[Tensor, "n k_of_shard"], k: int, grid: Grid | None) -> Float[Tensor, "n k_of_shard"]:
    """This shard's largest values of each row, 0 where they aren't among the k largest of all shards."""
    return values if grid is None or grid.shards == 1 else values * grid.largest_of_rows(values, k)


def own_centre(centre: Float[Tensor, " d"] | None, grid: Grid | None) -> Float[Tensor, " d"] | None:
    """The centre as an encoder of this process's latents takes it from the input."""
    return centre if centre is None or grid is None or grid.shards == 1 else grid.part_of_gradient(centre)
