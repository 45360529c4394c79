"""Tied L1 sparse autoencoder (Cunningham et al. 2023, arXiv:2309.08600).

    c = ReLU(M x + b),   x̂ = Mᵀ c,   L = ‖x − x̂‖² / d + α ‖c‖₁,   rows of M of norm 1;   means over rows

Nothing is taken from the input and nothing added to the output. `tied=False` is the paper's variant for MLP
activations: the encoder is a matrix of its own, of free norms, and M only decodes.

The paper writes ‖x − x̂‖² without the division by d; its code, which its values of α belong to, takes the mean over
coordinates. Departures: norms are kept by removing the gradient along each row and scaling after each step, instead of
a division within the forward pass, whose gradient is the same; and M starts towards data points, unless
`start="random"` or `"orthogonal"`. A folded dictionary keeps the centre of its training data in `b_dec`, taken
from the input and added to the output; in training it is 0.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Losses, StepContext
from monosema.dictionaries.rectified import Rectified, RectifiedConfig
from monosema.dictionaries.terms import batch_variance, losses_of
from monosema.kernels import decode_active
from monosema.kernels.sharing import rows_of_part


class TiedL1Config(RectifiedConfig):
    """What a tied L1 dictionary is."""

    l1_coefficient: float = Field(8.6e-4, ge=0)
    """α (2309.08600, for the residual stream; 3.2e-4 for MLP activations)."""
    tied: bool = True
    """Whether one matrix encodes and decodes."""


class TiedL1(Rectified):
    """A tied L1 dictionary; see the module's equation.

    Attributes:
        dictionary_rows: M, one row per latent.
        encoder_rows: the encoder's own matrix; None where tied.
    """

    def _make_parameters(self, rows: Float[Tensor, "n_latents d_in"]) -> None:
        self.encoder_rows = None if self.config.tied else nn.Parameter(rows.clone())
        self.b_enc = nn.Parameter(torch.zeros(self.n_latents))
        self.dictionary_rows = nn.Parameter(rows)
        self.register_buffer("b_dec", torch.zeros(self.d_in))

    @property
    def W_enc(self) -> Any:  # type: ignore[override]  # noqa: N802
        """The matrix that encodes."""
        return self.dictionary_rows if self.encoder_rows is None else self.encoder_rows

    @property
    def W_dec(self) -> Any:  # type: ignore[override]  # noqa: N802
        """M."""
        return self.dictionary_rows

    def _first_centre(self, sample: Float[Tensor, "n d_in"]) -> Float[Tensor, " d_in"]:
        return torch.zeros_like(self.b_dec)

    def _scale_codes(self, gain: float) -> None:
        """Only an encoder of its own can have another scale."""
        if self.encoder_rows is not None:
            super()._scale_codes(gain)

    def losses(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Losses:
        """Forward pass and loss terms; changes no state."""
        pre, active = self._entries(x, context)
        codes = pre.relu()
        residual = x - (decode_active(codes, active, self.W_dec) + self.b_dec)
        n = max(1, rows_of_part(len(x)))
        terms = {
            "mse": residual.square().sum() / (n * self.d_in),
            "l1": codes.sum() * (self.config.l1_coefficient / n),
        }
        return losses_of(terms, Codes.from_entries(codes.detach(), active), residual, batch_variance(x))
