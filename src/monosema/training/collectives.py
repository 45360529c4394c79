"""Collectives within automatic differentiation, and what the loss of a process looks like."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["PartOfGradient", "SumOverLatents", "is_lost"]


class SumOverLatents(torch.autograd.Function):
    """The sum of what each shard of latents computed; every shard then has the same gradient, which passes as it is."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Any) -> Tensor:
        """The sum."""
        together = part.detach().clone()
        dist.all_reduce(together, group=group)
        return together

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradient as it is."""
        return grad, None


class PartOfGradient(torch.autograd.Function):
    """The same vector; its gradient is appended to a list, for sums over shards after the backward pass."""

    @staticmethod
    def forward(ctx: Any, centre: Tensor, parts: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The vector as it is."""
        ctx.centre, ctx.parts = centre, parts
        return centre.view_as(centre)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Nothing; the gradient is put aside."""
        ctx.parts.append((ctx.centre, grad.detach().clone()))
        return None, None


def is_lost(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone or does not answer."""
    words = ("connection", "timed out", "timeout", "peer", "nccl", "gloo", "socket", "broken pipe", "reset by")
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in words)
