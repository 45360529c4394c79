"""Collectives within automatic differentiation, work of one process for all, and the signs of a lost process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.core import RunError

Found = TypeVar("Found")


class SumOverLatents(torch.autograd.Function):
    """The sum over shards of latents; every shard then has the same gradient, which passes as it is."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Any) -> Tensor:
        """Sum."""
        together = part.detach().clone()
        dist.all_reduce(together, group=group)
        return together

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Pass the gradient."""
        return grad, None


class PartOfGradient(torch.autograd.Function):
    """The same vector; its gradient is appended to a list, for sums over shards after the backward pass."""

    @staticmethod
    def forward(ctx: Any, centre: Tensor, parts: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Pass the vector."""
        ctx.centre, ctx.parts = centre, parts
        return centre.view_as(centre)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Put the gradient aside."""
        ctx.parts.append((ctx.centre, grad.detach().clone()))
        return None, None


def numbers_of_all(numbers: Sequence[int], device: torch.device, group: Any = None) -> list[tuple[int, ...]]:
    """Return the numbers of each process of a group, in order; None is all processes."""
    own = torch.tensor(numbers, device=device)
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, own, group=group)
    return [tuple(part.tolist()) for part in parts]


def largest_of_all(values: Float[Tensor, " entries"], number: int, rank: int) -> Bool[Tensor, " entries"]:
    """Mark this process's positive values that are among the `number` largest of all processes.

    The border between them and the rest is found byte by byte, from the counts of all processes; of equal values at the
    border those of the first processes stay.
    """
    bits = values.detach().to(torch.float32).view(torch.int32).to(torch.int64)
    rising, border = bits.sort().values, 0
    for shift in (24, 16, 8, 0):
        trials = border + (torch.arange(1, 256, device=bits.device) << shift)
        counts = len(rising) - torch.searchsorted(rising, trials)
        dist.all_reduce(counts)
        border += int((counts >= number).sum()) << shift
    above, equal = bits > border, (bits == border).nonzero().squeeze(1)
    found = numbers_of_all([int(above.sum()), len(equal)], bits.device)
    room = number - sum(taken for taken, _ in found) - sum(before for _, before in found[:rank])
    above[equal[: max(0, room)]] = True
    return above


def from_first(work: Callable[[], Found], first: bool, group: Any) -> Found:
    """Let the first process of a group work, and return its result in all; the others wait.

    Args:
        work: gives a value that can be pickled.
        first: True in the first process.

    Raises what the work raises; in the others RunError, which says what that was.
    """
    said: list[Any] = [None, None]
    if first:
        try:
            said[0] = work()
        except Exception as error:
            said[1] = str(error) or type(error).__name__
            # Where another process is lost as well, what went wrong here counts.
            with suppress(RuntimeError):
                dist.broadcast_object_list(said, src=0, group=group)
            raise
    dist.broadcast_object_list(said, src=0, group=group)
    if said[1] is not None:
        raise RunError(f"The first process stopped, and with it all others: {said[1]}")
    found: Found = said[0]
    return found


def is_lost(error: RuntimeError) -> bool:
    """Return True where an error says that another process is gone or does not answer."""
    words = ("connection", "timed out", "timeout", "peer", "nccl", "gloo", "socket", "broken pipe", "reset by")
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in words)
