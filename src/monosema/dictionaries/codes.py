"""Sparse codes: which latents are active on each row, and how strongly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.kernels import to_dense

__all__ = ["Codes"]


@dataclass(frozen=True)
class Codes:
    """The active latents of n rows.

    Attributes:
        values: activations, at least 0 for the architectures that rectify. An entry with value 0 is padding and says
            nothing about its latent.
        indices: the latent of each value; no latent occurs twice in a row with values other than 0.
        n_latents: number of latents there are.
    """

    values: Float[Tensor, "n k"]
    indices: Int[Tensor, "n k"]
    n_latents: int

    @classmethod
    def from_dense(cls, dense: Float[Tensor, "n n_latents"]) -> Codes:
        """Keep the entries other than 0; as many columns as the fullest row has, at least one."""
        k = max(1, int((dense != 0).sum(dim=1).max())) if dense.numel() else 1
        indices = dense.abs().topk(min(k, dense.shape[1]), dim=1).indices
        return cls(dense.gather(1, indices), indices, dense.shape[1])

    def dense(self) -> Float[Tensor, "n n_latents"]:
        """All activations as a matrix; memory n × n_latents."""
        return to_dense(self.values, self.indices, self.n_latents)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.values)

    @property
    def l0(self) -> Float[Tensor, " n"]:
        """Active latents of each row."""
        return (self.values != 0).sum(dim=1).to(torch.float32)

    def counts(self) -> Int[Tensor, " n_latents"]:
        """Rows on which each latent is active."""
        return torch.bincount(self.indices[self.values != 0], minlength=self.n_latents)
