"""Gated sparse autoencoder (Rajamanoharan et al. 2024, arXiv:2404.16014).

    π = W_enc (x − b_dec) + b_gate,   μ = e^r ⊙ W_enc (x − b_dec) + b_mag
    c = 1[π > 0] ⊙ ReLU(μ),           x̂ = W_decᵀ c + b_dec
    L = ‖x − x̂‖² + α ‖ReLU(π)‖₁ + ‖x − x̂_frozen(ReLU(π))‖²,   means over rows

where x̂_frozen decodes with W_dec and b_dec as constants, so that this term reaches the gate alone. Rows of W_dec have
norm 1; the part of their gradient along them is removed.

Departures. The paper resamples dead latents as Bricken et al. do; here they may start anew towards residuals
(`resampling`), which is off: where codes are sparse, latents that fire rarely are taken for dead, and less is left
unexplained without (measured: FVU 0.31 and not 0.42 at an L0 of 8). Decoder rows start towards data points, and the
encoder as their transpose times the factor that reconstructs a sample best; `start="random"` is nearer to the paper.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Losses, StepContext
from monosema.dictionaries.rectified import Rectified, RectifiedConfig
from monosema.dictionaries.resampling import resample_towards_residuals
from monosema.dictionaries.terms import batch_variance, losses_of, warm_up
from monosema.kernels import Full, Ragged, decode_active, encode_entries


class GatedConfig(RectifiedConfig):
    """What a gated dictionary is."""

    l1_coefficient: float = Field(5.0, ge=0)
    """α, for activations of mean norm √d; a value of ours, as the paper sweeps it."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the run over which α rises linearly."""
    resample_at: tuple[float, ...] = ()
    """Shares of the run after which silent latents start anew towards residuals; none, as measured."""


class Gated(Rectified):
    """A gated dictionary; see the module's equation.

    Attributes:
        gate_bias: b_gate.
        magnitude_bias: b_mag.
        magnitude_scale: r.
    """

    def _make_parameters(self, rows: Float[Tensor, "n_latents d_in"]) -> None:
        self.W_enc = nn.Parameter(rows.clone())
        self.gate_bias = nn.Parameter(torch.zeros(self.n_latents))
        self.magnitude_bias = nn.Parameter(torch.zeros(self.n_latents))
        self.magnitude_scale = nn.Parameter(torch.zeros(self.n_latents))
        self.W_dec = nn.Parameter(rows)
        self.b_dec = nn.Parameter(torch.zeros(self.d_in))

    @property
    def b_enc(self) -> Any:  # type: ignore[override]
        """b_gate, the bias of what decides which latents are active."""
        return self.gate_bias

    def _magnitudes(self, gate: Tensor, active: Ragged | Full) -> Tensor:
        """c of entries, from their π."""
        scale, gate_bias, bias = (
            active.spread(of_latent) for of_latent in (self.magnitude_scale.exp(), self.gate_bias, self.magnitude_bias)
        )
        return torch.where(gate > 0, (scale * (gate - gate_bias) + bias).relu(), 0)

    def _activate(self, centred: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None) -> Codes:
        gate, active = encode_entries(centred, None, self.W_enc, self.gate_bias, None, matmul_dtype)
        return Codes.from_entries(self._magnitudes(gate, active), active).padded()

    def losses(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Losses:
        """Forward pass and loss terms; changes no state."""
        gate, active = self._entries(x, context)
        codes, open_gate = self._magnitudes(gate, active), gate.relu()
        residual = x - (decode_active(codes, active, self.W_dec) + self.b_dec)
        frozen = decode_active(open_gate, active, self.W_dec.detach()) + self.b_dec.detach()
        n = max(1, len(x))
        terms = {
            "mse": residual.square().sum() / n,
            "l1": open_gate.sum() * (self.config.l1_coefficient * warm_up(context, self.config.warmup) / n),
            "gate": (x - frozen).square().sum() / n,
        }
        return losses_of(terms, Codes.from_entries(codes.detach(), active), residual, batch_variance(x))

    def resample(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Int[Tensor, " latents"]:
        """Give silent latents a new start at the chosen points of the run, at the living ones' mean biases."""
        averaged = (self.gate_bias, self.magnitude_bias, self.magnitude_scale)
        return resample_towards_residuals(self, x, context, self.config.resample_at, averaged)

    def _fit_start(self, sample: Float[Tensor, "n d_in"]) -> None:
        self.magnitude_bias.zero_()
        self.magnitude_scale.zero_()
        super()._fit_start(sample)

    def _fold(self, scale: float) -> None:
        self.magnitude_bias.div_(scale)
