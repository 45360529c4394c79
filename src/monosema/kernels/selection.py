"""The k largest of each row, exactly."""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Selection", "top_k"]


def top_k(pre: Float[Tensor, "n m"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest values of each row and their columns, in no order."""
    values, indices = pre.topk(k, dim=1, sorted=False)
    return values, indices


class Selection:
    """Which latents each row keeps, readable by row and by latent.

    Attributes:
        indices: latents of each row.
        n_latents: number of latents there are.
    """

    def __init__(self, indices: Int[Tensor, "n k"], n_latents: int) -> None:
        self.indices = indices
        self.n_latents = n_latents

    @cached_property
    def by_latent(self) -> tuple[Int[Tensor, " nk"], Int[Tensor, " nk"], Int[Tensor, " m_plus_1"]]:
        """All (row, place) pairs sorted by latent.

        Returns:
            order: positions in the flattened n × k list, sorted by latent, earlier rows first;
            rows: the row of each; bounds: where each latent's run starts, and the end.
        """
        flat = self.indices.reshape(-1)
        if flat.device.type == "cpu" and self.n_latents <= 2**16:
            order = torch.from_numpy(flat.numpy().astype("uint16").argsort(kind="stable"))
        else:
            order = flat.argsort(stable=True)
        counts = torch.bincount(flat, minlength=self.n_latents)
        bounds = torch.zeros(self.n_latents + 1, dtype=torch.int64, device=flat.device)
        torch.cumsum(counts, 0, out=bounds[1:])
        width = max(1, self.indices.shape[1])
        return order, torch.div(order, width, rounding_mode="floor"), bounds
