"""Gated (Rajamanoharan et al. 2024, arXiv:2404.16014).

    π = W_enc (x − b_dec) + b_enc,   μ = e^r ⊙ W_enc (x − b_dec) + b_mag
    c = 1[π > 0] ⊙ ReLU(μ),          x̂ = W_decᵀ c + b_dec
    L = ‖x − x̂‖² + α ‖ReLU(π)‖₁ + ‖x − x̂_frozen(ReLU(π))‖²,   means over rows

where b_enc is the paper's b_gate, and x̂_frozen decodes with W_dec and b_dec as constants, so that this term reaches the
gate alone. Rows of W_dec have norm 1; the part of their gradient along them is removed.

Departures. The paper resamples dead latents as Bricken et al. do; here they may start anew towards residuals
(`resampling`), which is off: where codes are sparse, latents that fire rarely are taken for dead, and less is left
unexplained without (measured: FVU 0.31 and not 0.42 at an L0 of 8). Decoder rows start towards data points, and the
encoder as their transpose times the factor that reconstructs a sample best; `start="random"` is nearer to the paper.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from monosema.dictionaries.activation_functions.activation import Activated, Batch, register_activation
from monosema.dictionaries.activation_functions.rectified import Rectified
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Coder
from monosema.kernels import Full, Grid, Ragged, decode_active, encode_entries


@register_activation
class Gated(Rectified):
    """All whose gate is open, under an L1 penalty of the gate; see the module's equation. The coder gets

    magnitude_bias: b_mag.
    magnitude_scale: r.
    """

    name = "gated"
    title = "Gated"
    kind = "gated"
    coefficient = "l1_coefficient"
    error_per = "row"
    in_units_of_codes = ("magnitude_bias",)
    averaged = ("b_enc", "magnitude_bias", "magnitude_scale")

    l1_coefficient: float = Field(5.0, ge=0)
    """α, for activations of mean norm √d; a value of ours, as the paper sweeps it."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the run over which α rises linearly."""
    resample_at: tuple[float, ...] = ()
    """Shares of the run after which silent latents start anew towards residuals; none, as measured."""

    @property
    def reconstructs_once(self) -> bool:
        """False: the gate is trained by a reconstruction of its own."""
        return False

    def add_tensors(self, coder: Coder) -> None:
        """Add what turns gates into magnitudes."""
        coder.keep("magnitude_bias", nn.Parameter(torch.zeros(coder.n_latents)))
        coder.keep("magnitude_scale", nn.Parameter(torch.zeros(coder.n_latents)))

    def encode(
        self,
        coder: Coder,
        x: Float[Tensor, "n d_in"],
        matmul_dtype: torch.dtype | None = None,
        grid: Grid | None = None,
    ) -> Codes:
        """Compute the magnitudes of latents whose gate is open."""
        gate, active = encode_entries(x, coder.centre, coder.W_enc, coder.b_enc, None, matmul_dtype)
        return Codes.from_entries(self._magnitudes(coder, gate, active), active).padded()

    def activate(self, coder: Coder, batch: Batch) -> Activated:
        """Compute magnitudes, the penalty of gates, and the error of what gates alone reconstruct."""
        gate, active = self.entries(coder, batch)
        codes, open_gate = self._magnitudes(coder, gate, active), gate.relu()
        frozen = decode_active(open_gate, active, coder.W_dec.detach(), batch.context.grid) + coder.b_dec.detach()
        alpha = self.l1_coefficient * batch.context.warm_up(self.warmup)
        terms = {
            "l1": open_gate.sum() * (alpha / batch.rows),
            "gate": (batch.y - frozen).square().sum() / batch.rows,
        }
        return Activated(codes, active, terms)

    def _magnitudes(self, coder: Coder, gate: Tensor, active: Ragged | Full) -> Tensor:
        """c of entries, from their π."""
        scale, gate_bias, bias = (
            active.spread(of_latent)
            for of_latent in (coder.own("magnitude_scale").exp(), coder.b_enc, coder.own("magnitude_bias"))
        )
        return torch.where(gate > 0, (scale * (gate - gate_bias) + bias).relu(), 0)

    def fit(self, coder: Coder, x: Float[Tensor, "n d_in"]) -> None:
        """Set the gates' biases to what leaves `start_l0` latents active, and magnitudes to the gates'."""
        super().fit(coder, x)
        coder.own("magnitude_bias").zero_()
        coder.own("magnitude_scale").zero_()
