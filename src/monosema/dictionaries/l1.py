"""L1 sparse autoencoder, untied, by the recipe of 2023 or of 2024.

    c = ReLU(W_enc (x − b_dec) + b_enc),   x̂ = W_decᵀ c + b_dec,   means over rows:

    2023   L = ‖x − x̂‖² + α Σ_i c_i                    rows of W_dec have norm 1 (Bricken et al. 2023)
    2024   L = ‖x − x̂‖² + α Σ_i c_i ‖W_dec,i‖          free norms (Conerly et al., Circuits Updates of April 2024)

2023: the part of the decoder's gradient along its rows is removed, b_dec starts at the geometric median where
`centre="median"`, and dead latents are resampled (`resampling`). 2024: α rises linearly over the first twentieth of the
run, and nothing is resampled. Both take activations of mean norm √d, as the stream gives them; α is in these units.

Departures. 2024 doesn't take b_dec from the input; doing so changes what b_enc means and not what can be learned.
Decoder rows start towards data points, `start="random"` is the papers' way; the encoder starts as their transpose times
the factor that reconstructs best.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Losses, StepContext
from monosema.dictionaries.rectified import Rectified, RectifiedConfig
from monosema.dictionaries.resampling import RESAMPLE_AT, resample
from monosema.dictionaries.terms import batch_variance, losses_of, warm_up
from monosema.kernels import decode_active
from monosema.kernels.sharing import rows_of_part


class L1Config(RectifiedConfig):
    """What an L1 dictionary is."""

    recipe: Literal["2023", "2024"] = "2024"
    """Unit decoder rows and resampling, or an L1 norm weighted by the norms of decoder rows."""
    l1_coefficient: float = Field(5.0, ge=0)
    """α (Circuits Updates of April 2024, for activations of mean norm √d)."""
    warmup: float | None = Field(None, ge=0, le=1)
    """Share of the run over which α rises linearly; None is the recipe's: 0 for 2023, 1/20 for 2024."""
    resample_at: tuple[float, ...] = RESAMPLE_AT
    """Shares of the run after which dead latents are resampled; 2023 only. Empty switches it off."""


class L1(Rectified):
    """An L1 dictionary; see the module's equation."""

    def losses(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Losses:
        """Forward pass and loss terms; changes no state."""
        pre, active = self._entries(x, context)
        codes = pre.relu()
        residual = x - (decode_active(codes, active, self.W_dec) + self.b_dec)
        n = max(1, rows_of_part(len(x)))
        weighted = codes
        if self.config.recipe == "2024":
            weighted = codes * active.spread(torch.linalg.vector_norm(self.W_dec, dim=1))
        terms = {
            "mse": residual.square().sum() / n,
            "l1": weighted.sum() * (self.config.l1_coefficient * warm_up(context, self._warm_up_share) / n),
        }
        return losses_of(terms, Codes.from_entries(codes.detach(), active), residual, batch_variance(x))

    @property
    def _warm_up_share(self) -> float:
        if self.config.warmup is not None:
            return self.config.warmup
        return 0.05 if self.config.recipe == "2024" else 0.0

    def project_gradients(self) -> None:
        """2023: remove from the gradient of each decoder row the part along it."""
        if self.config.recipe == "2023":
            super().project_gradients()

    def constrain(self) -> None:
        """2023: scale decoder rows to norm 1."""
        if self.config.recipe == "2023":
            super().constrain()

    def resample(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Int[Tensor, " latents"]:
        """2023: give dead latents a new start at the chosen points of the run."""
        points = self.config.resample_at if self.config.recipe == "2023" else ()
        return resample(self, x, context, points)
