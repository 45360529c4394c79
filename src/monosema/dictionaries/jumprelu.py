"""JumpReLU sparse autoencoder (Rajamanoharan et al. 2024, arXiv:2407.14435).

    z = W_enc (x − b) + b_enc,   c = z ⊙ 1[z > θ],   x̂ = W_decᵀ c + b_dec
    L = (‖x − x̂‖² / s² + λ ‖c‖₀), means over rows;   s² = the batch's mean of ‖x − x̄‖²

Gradients reach θ by the straight-through estimator of the paper: with K the rectangle of width 1 and ε the bandwidth,

    ∂c/∂θ = −(θ/ε) K((z − θ)/ε),   ∂1[z > θ]/∂θ = −(1/ε) K((z − θ)/ε)      where z > 0

Rows of W_dec have norm 1, and the part of their gradient along them is removed. b = b_dec, or 0 (`centre_input=False`,
as in the paper and Gemma Scope).

Departures. The paper scales all activations to a mean squared norm of 1; here the loss is divided by s² instead, and
the bandwidth and the first threshold are multiples of s, which gives the same numbers. θ itself is learned, in the
units of activations, and kept at 0 or above; the paper learns log θ, whose steps under Adam are shares of θ: from a
small start it can't grow to the size of activations within a short run. Its steps are made √d times as long as the
optimiser's, which is how far z moves when all d weights of its encoder row make a step. θ stays float32 whatever the
other weights are: steps of a learning rate's size are lost in bf16. λ rises over the same share of the run as in the
paper, 1/20. Decoder rows start towards data points, and thresholds where `start_l0` latents are active on a row. The
bandwidth is wider. Silent latents start anew towards residuals (`resampling`), at the living ones' mean threshold: a
fifth more of them live at the same FVU, but where more than a tenth of all are active on a row it costs FVU (measured).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from monosema.dictionaries.autoencoder import Autoencoder
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Losses, StepContext
from monosema.dictionaries.rectified import Rectified, RectifiedConfig, sparse_start
from monosema.dictionaries.resampling import OFTEN, resample_towards_residuals
from monosema.dictionaries.terms import batch_variance, losses_of, warm_up
from monosema.kernels import decode_active
from monosema.kernels.sharing import rows_of_part


class JumpReLUConfig(RectifiedConfig):
    """What a JumpReLU dictionary is."""

    l0_coefficient: float = Field(6e-4, ge=0)
    """λ: the share of variance that one more active latent must explain (Lieberum et al. 2024, arXiv:2408.05147)."""
    bandwidth: float = Field(0.02, gt=0)
    """ε in units of s. The paper's is 0.001, for runs of 10⁵ steps; in 90 steps FVU was 0.247 with it (at L0 22) and
    0.235 with 0.02 (at L0 24), with 2,048 latents on all-MiniLM activations."""
    start_threshold: float = Field(0.001, ge=0)
    """θ at the start in units of s, where `start_l0` is None (the paper's value)."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the run over which λ rises linearly."""
    centre_input: bool = True
    """Whether b_dec is taken from the input."""
    resample_at: tuple[float, ...] = OFTEN
    """Shares of the run after which silent latents start anew towards residuals (ours); the paper has none."""


class JumpReLU(Rectified):
    """A JumpReLU dictionary; see the module's equation.

    Attributes:
        threshold: θ, float32, in the units of activations.
    """

    exact = ("threshold",)

    def _make_parameters(self, rows: Float[Tensor, "n_latents d_in"]) -> None:
        super()._make_parameters(rows)
        self._before_step: Tensor | None = None
        self.threshold = nn.Parameter(torch.full((self.n_latents,), self.config.start_threshold, dtype=torch.float32))

    @property
    def centres_input(self) -> bool:
        """Whether b is b_dec; otherwise it is 0."""
        return bool(self.config.centre_input)

    def _floor(self) -> Float[Tensor, " n_latents"]:
        return self.threshold.detach().clamp_min(0).to(self.W_enc.dtype)

    def losses(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Losses:
        """Forward pass and loss terms; changes no state."""
        n = max(1, rows_of_part(len(x)))
        variance = batch_variance(x)
        size = variance / n
        width = self.config.bandwidth * float(size.sqrt())
        floor = (self.threshold.detach() - width / 2).clamp_min(0).to(x.dtype)
        pre, active = self._entries(x, context, floor)
        pre = pre.relu()
        threshold = active.spread(self.threshold).expand_as(pre)
        codes = jump(pre, threshold, width)
        residual = x - (decode_active(codes, active, self.W_dec) + self.b_dec)
        penalty = self.config.l0_coefficient * warm_up(context, self.config.warmup)
        terms = {
            "mse": residual.square().sum() / (n * size),
            "l0": above(pre, threshold, width).sum() * (penalty / n),
        }
        return losses_of(terms, Codes.from_entries(codes.detach(), active), residual, variance)

    def resample(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Int[Tensor, " latents"]:
        """Give silent latents a new start at the chosen points of the run, at the living ones' mean threshold."""
        averaged = (self.threshold, self.b_enc)
        return resample_towards_residuals(self, x, context, self.config.resample_at, averaged)

    def project_gradients(self) -> None:
        """Remove from the gradient of each decoder row the part along it; remember thresholds as they are."""
        super().project_gradients()
        self._before_step = self.threshold.detach().clone()

    def constrain(self) -> None:
        """Scale decoder rows to norm 1; make the step of thresholds √d times as long, and keep them at 0 or above."""
        super().constrain()
        with torch.no_grad():
            if self._before_step is not None:
                self.threshold.add_(self.threshold - self._before_step, alpha=self.d_in**0.5 - 1)
            self.threshold.clamp_min_(0)
        self._before_step = None

    def _fit_start(self, sample: Float[Tensor, "n d_in"]) -> None:
        size = float((batch_variance(sample) / max(1, len(sample))).sqrt())
        self.threshold.fill_(self.config.start_threshold * size)
        if self.config.start_l0 is not None:
            self.threshold.copy_(sparse_start(self, sample, self.config.start_l0))
        Autoencoder._fit_start(self, sample)

    def _scale_codes(self, gain: float) -> None:
        super()._scale_codes(gain)
        self.threshold.mul_(gain)

    def _fold(self, scale: float) -> None:
        self.threshold.div_(scale)


def jump(pre: Tensor, threshold: Tensor, width: float) -> Tensor:
    """z · 1[z > θ] of pre-activations that are not below 0, with the straight-through gradient of θ."""
    return _JumpReLU.apply(pre, threshold, width)


def above(pre: Tensor, threshold: Tensor, width: float) -> Tensor:
    """1[z > θ] as a number, with the straight-through gradient of θ and none of z."""
    return _Step.apply(pre, threshold, width)


def _near(pre: Tensor, threshold: Tensor, width: float) -> Tensor:
    """K: which positive pre-activations lie within half a bandwidth of their threshold."""
    return ((pre - threshold).abs() < width / 2) & (pre > 0)


class _JumpReLU(torch.autograd.Function):
    """z · 1[z > θ], with the straight-through gradient of θ."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.width = width
        return torch.where(pre > threshold, pre, 0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        pre, threshold = ctx.saved_tensors
        of_pre = torch.where(pre > threshold, grad, 0)
        near = _near(pre, threshold, ctx.width)
        return of_pre, torch.where(near, grad * threshold * (-1 / ctx.width), 0), None


class _Step(torch.autograd.Function):
    """1[z > θ], with the straight-through gradient of θ and none of z."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.width = width
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        pre, threshold = ctx.saved_tensors
        near = _near(pre, threshold, ctx.width)
        return None, torch.where(near, grad * (-1 / ctx.width), 0), None
