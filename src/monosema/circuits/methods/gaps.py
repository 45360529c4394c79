"""Gaps: what stands in for writers less what they add."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class Gaps:
    """Stand-ins less what the writers of a pass add, gathered while it runs."""

    def __init__(self, stand_ins: Float[Tensor, "w n pos d_model"]) -> None:
        self._stand_ins, self._parts = stand_ins, list[Tensor]()

    @torch.no_grad()
    def add(self, layer: int, kind: str, x: Float[Tensor, "some n pos d_model"]) -> None:
        """Take the contributions of the next writers."""
        first = sum(map(len, self._parts))
        self._parts.append(self._stand_ins[first : first + len(x)] - x.detach())

    def latest(self) -> Float[Tensor, "n pos d_model"]:
        """Return the sum over the writers that were added last."""
        return self._parts[-1].sum(0)

    def whole(self) -> Float[Tensor, "w n pos d_model"]:
        """Return those of all writers."""
        return torch.cat(self._parts)
