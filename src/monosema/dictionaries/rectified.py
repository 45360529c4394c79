"""What architectures share whose number of active latents varies from row to row: L1, gated, JumpReLU.

Their loss terms are written on the entries that can be active, wherever these are (`encode_active`), so that a step
costs what its active latents cost.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.dictionaries.autoencoder import Autoencoder, AutoencoderConfig
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import StepContext
from monosema.kernels import Full, Ragged, encode_active, encode_entries

START_ROWS = 4096
"""Rows of the sample that the density at the start is fitted to."""
BLOCK = 1024
"""Latents whose activations are looked at together for that."""


class RectifiedConfig(AutoencoderConfig):
    """An architecture with any number of active latents on a row."""

    start_l0: float | None = Field(32.0, gt=0)
    """Active latents a row at the start, which biases (or thresholds) are set for, latent by latent (Conerly et al.,
    Circuits Updates of January 2025). None starts with biases of 0 as the papers do: half of all latents are active,
    and a short run spends itself on silencing them."""


class Rectified(Autoencoder):
    """An autoencoder whose active latents are those above a floor."""

    def _floor(self) -> Float[Tensor, " n_latents"] | None:
        """What pre-activations must exceed; None is 0."""
        return None

    def _activate(self, centred: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None) -> Codes:
        values, active = encode_entries(centred, None, self.W_enc, self.b_enc, self._floor(), matmul_dtype)
        return Codes.from_entries(values, active).padded()

    def _entries(
        self, x: Float[Tensor, "n d_in"], context: StepContext, floor: Float[Tensor, " n_latents"] | None = None
    ) -> tuple[Tensor, Ragged | Full]:
        """Differentiable pre-activations, of at least the entries above the floor."""
        x = self._checked(x)
        return encode_active(x, self.input_bias, self.W_enc, self.b_enc, floor, context.matmul_dtype)

    def _fit_start(self, sample: Float[Tensor, "n d_in"]) -> None:
        if self.config.start_l0 is not None:
            self.b_enc.sub_(sparse_start(self, sample, self.config.start_l0))
        super()._fit_start(sample)


def sparse_start(dictionary: Autoencoder, sample: Float[Tensor, "n d_in"], l0: float) -> Float[Tensor, " n_latents"]:
    """For each latent, the level above which it is active on l0 / n_latents of a sample; at least 0, and on one row."""
    rows = sample[:START_ROWS] - dictionary.input_bias
    active = min(len(rows) - 1, max(1, round(len(rows) * l0 / dictionary.n_latents)))
    levels = [(block @ rows.T).topk(active + 1, dim=1).values[:, -1] for block in dictionary.W_enc.split(BLOCK)]
    return torch.cat(levels).clamp_min_(0)
