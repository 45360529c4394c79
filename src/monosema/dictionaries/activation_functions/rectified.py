"""Base of activations whose number of active latents varies from row to row: ReLU, gated, JumpReLU.

Their loss terms are written on the entries that can be active, wherever these are (`encode_active`), so that a step
costs what its active latents cost.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.dictionaries.activation_functions.activation import Activation, Batch
from monosema.dictionaries.protocol import Coder
from monosema.kernels import Full, Ragged, encode_active

START_ROWS = 4096
"""Rows of the sample that the density at the start is fitted to."""
BLOCK = 1024
"""Latents whose activations are looked at together for that."""


class Rectified(Activation):
    """An activation with any number of active latents on a row: those above a floor."""

    depends_on = "itself"

    start_l0: float | None = Field(32.0, gt=0)
    """Active latents a row at the start, which biases (or thresholds) are set for, latent by latent (Conerly et al.,
    Circuits Updates of January 2025). None starts with biases of 0 as the papers do: half of all latents are active,
    and a short run spends itself on silencing them."""

    def entries(
        self, coder: Coder, batch: Batch, floor: Float[Tensor, " n_latents"] | None = None
    ) -> tuple[Tensor, Ragged | Full]:
        """Compute pre-activations, of at least the entries above the floor, with gradients."""
        context = batch.context
        return encode_active(batch.x, coder.centre, coder.W_enc, coder.b_enc, floor, context.matmul_dtype, context.grid)

    def fit(self, coder: Coder, x: Float[Tensor, "n d_in"]) -> None:
        """Set biases to what leaves `start_l0` latents active."""
        if self.start_l0 is not None:
            coder.b_enc.sub_(self.sparse_levels(coder, x, self.start_l0))

    def sparse_levels(self, coder: Coder, x: Float[Tensor, "n d_in"], l0: float) -> Float[Tensor, " n_latents"]:
        """For each latent, the level that its pre-activation exceeds on l0 / n_latents of a sample; at least 0, and on
        one row."""
        rows = x[:START_ROWS] if coder.centre is None else x[:START_ROWS] - coder.centre
        active = min(len(rows) - 1, max(1, round(len(rows) * l0 / coder.n_latents)))
        levels = [(block @ rows.T).topk(active + 1, dim=1).values[:, -1] for block in coder.W_enc.split(BLOCK)]
        return torch.cat(levels).add_(coder.b_enc).clamp_min_(0)
