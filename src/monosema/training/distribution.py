"""The processes of a run: how they form a grid, and what they tell each other.

Processes form a grid of `groups` × `shards`. A group has a part of each batch; its shards have a part of the latents
each, with their rows of both matrices and of the optimiser's state (`sharded_step`, `sharded_dictionary`). Alone, every
method returns what it is given.

Sums are explicit collectives, not DTensor: top-k over a divided dimension, embedding bags, sorting by latent and Triton
kernels have no rule for divided tensors, so that DTensor would gather whole matrices for each.

Every process reads the whole stream and takes its rows of each batch, so that all follow one order, whatever their
number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.core import ConfigError, RunError
from monosema.training.collectives import (
    PartOfGradient,
    SumOverLatents,
    from_first,
    is_lost,
    largest_of_all,
    numbers_of_all,
)

Found = TypeVar("Found")

PATIENCE = 300.0
"""Seconds after which a process that does not answer counts as lost; one that ended is noticed at once."""
LONGEST = timedelta(days=30)
"""Longest wait for work that the first process does for all, such as capture."""


def first_process() -> bool:
    """Return True in the first process that torchrun started, and in one that was started by itself."""
    return os.environ.get("RANK", "0") == "0"


class Mesh:
    """The processes of a run; see the module.

    Attributes:
        groups, shards: size of the grid.
        rank: number of this process; shards of a group follow each other.
        group, shard: place of this process in the grid.
        rows_group: the processes that have this one's latents, of other rows.
        latents_group: the processes that have this one's rows, of other latents.
        centre_gradients: gradients of centres that are still to be summed over shards.
    """

    def __init__(self, groups: int = 1, shards: int = 1, rank: int = 0) -> None:
        """Make a grid of processes that have already joined; `Mesh()` is a process alone."""
        self.groups, self.shards, self.rank = groups, shards, rank
        self.group, self.shard = divmod(rank, shards)
        self.rows_group: Any = None
        self.latents_group: Any = None
        self._waiting: Any = None
        self.centre_gradients: list[tuple[Tensor, Tensor]] = []
        if groups * shards > 1:
            self._make_groups()

    @classmethod
    def join(cls, latent_shards: int = 1, patience: float = PATIENCE) -> Mesh:
        """Join the processes that torchrun started; a process alone where it started none.

        Args:
            latent_shards: parts that the latents are divided into; the rest of the grid shares the batch.
            patience: seconds that a process waits for another.

        Raises:
            ConfigError: shards that don't divide the number of processes.
        """
        world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        if latent_shards < 1 or world % latent_shards:
            raise ConfigError(
                f"{world} processes can't hold {latent_shards} shards of latents: give torchrun a multiple of that, "
                "or a number of shards that divides its processes."
            )
        if world > 1 and not dist.is_initialized():
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            if backend == "nccl":
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            dist.init_process_group(backend, timeout=timedelta(seconds=patience))
        return cls(world // latent_shards, latent_shards, rank)

    def _make_groups(self) -> None:
        """Make the groups of communication; every process takes part in making each, also where it isn't in it."""
        for shard in range(self.shards):
            made = dist.new_group([group * self.shards + shard for group in range(self.groups)])
            self.rows_group = made if shard == self.shard else self.rows_group
        for group in range(self.groups):
            made = dist.new_group([group * self.shards + shard for shard in range(self.shards)])
            self.latents_group = made if group == self.group else self.latents_group
        self._waiting = dist.new_group(backend="gloo", timeout=LONGEST)

    @property
    def alone(self) -> bool:
        """True for the only process of a run."""
        return self.groups * self.shards == 1

    @property
    def first(self) -> bool:
        """True for the process that writes the record, checkpoints and the dictionary."""
        return self.rank == 0

    def leave(self) -> None:
        """Part from the other processes, at the end."""
        if not self.alone and dist.is_initialized():
            dist.destroy_process_group()

    def by_first(self, work: Callable[[], Found]) -> Found:
        """Let the first process work while the others wait, however long that takes, and return its result in all.

        Raises what the work raises, and RunError in the others or where a process is lost.
        """
        if self.alone:
            return work()
        with self.watching():
            return from_first(work, self.first, self._waiting)

    @property
    def grid(self) -> Mesh | None:
        """The mesh as kernels and losses ask it; None where there is nothing to ask."""
        return None if self.alone else self

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Raise RunError where another process is lost inside the block."""
        if self.alone:
            yield
            return
        try:
            yield
        except RuntimeError as error:
            if not is_lost(error):
                raise
            raise RunError(
                f"Process {self.rank} of {self.groups * self.shards} lost another process of the run "
                f"({str(error).splitlines()[0]}). Start the same command again: training goes on from the newest "
                "checkpoint, with as many processes as you like."
            ) from error

    def mean(self, number: float) -> float:
        """Return the mean of a number over all processes."""
        if self.alone:
            return number
        with self.watching():
            return self._reduced(number, dist.ReduceOp.SUM) / (self.groups * self.shards)

    def agreed(self, yes: bool) -> bool:
        """Return the first process's answer: clocks differ, decisions must not."""
        if self.alone:
            return yes
        with self.watching():
            said = torch.tensor(int(yes), device=self.device)
            dist.broadcast(said, src=0)
        return bool(said)

    def any(self, yes: bool) -> bool:
        """Return True where one process at least says yes."""
        if self.alone:
            return yes
        with self.watching():
            return self._reduced(int(yes), dist.ReduceOp.MAX) > 0

    # -------------------------------------------------------------------------------------------- what kernels ask

    def sum_over_rows(self, total: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the sum of the groups' tensors, without gradient."""
        total = total.detach().clone()
        if self.groups > 1:
            dist.all_reduce(total, group=self.rows_group)
        return total

    def sum_over_latents(self, part: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the sum of the shards' tensors; the gradient passes through as it is."""
        return part if self.shards == 1 else SumOverLatents.apply(part, self.latents_group)

    def part_of_gradient(self, centre: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        """Return the same vector; its gradient here is a part, put aside until `sharded_step.sum_gradients`."""
        return PartOfGradient.apply(centre, self.centre_gradients) if centre.requires_grad else centre

    def largest_of_rows(self, values: Float[Tensor, "n k_of_shard"], k: int) -> Bool[Tensor, "n k_of_shard"]:
        """Mark this shard's values that are among the k largest positive ones of their row, over all shards."""
        values = values.detach()
        padded = torch.nn.functional.pad(values, (0, k - values.shape[1]))
        parts = [torch.empty_like(padded) for _ in range(self.shards)]
        dist.all_gather(parts, padded.contiguous(), group=self.latents_group)
        chosen = torch.cat(parts, dim=1).topk(k, dim=1).indices
        kept = torch.zeros(len(values), self.shards * k, dtype=torch.bool, device=values.device)
        kept.scatter_(1, chosen, True)
        first = self.shard * k
        return kept[:, first : first + values.shape[1]] & (values > 0)

    def largest_of_all(self, values: Float[Tensor, " entries"], number: int) -> Bool[Tensor, " entries"]:
        """Mark this process's positive values that are among the `number` largest of all processes."""
        return largest_of_all(values, number, self.rank)

    def total(self, number: int) -> int:
        """Return the sum of a number over all processes."""
        return int(self._reduced(number, dist.ReduceOp.SUM))

    def lowest(self, number: float) -> float:
        """Return the smallest of a number over all processes."""
        return self._reduced(number, dist.ReduceOp.MIN)

    def highest(self, number: float) -> float:
        """Return the largest of a number over all processes."""
        return self._reduced(number, dist.ReduceOp.MAX)

    def numbers_of_shards(self, number: int) -> tuple[int, ...]:
        """Return the number of each shard, in order."""
        return tuple(said for (said,) in numbers_of_all([number], self.device, self.latents_group))

    def _reduced(self, number: float, operation: Any) -> float:
        found = torch.tensor(number, dtype=torch.float64, device=self.device)
        dist.all_reduce(found, op=operation)
        return float(found)

    @property
    def device(self) -> torch.device:
        """The device on which processes exchange numbers."""
        return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
