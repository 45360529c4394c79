"""JumpReLU (Rajamanoharan et al. 2024, arXiv:2407.14435).

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
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from monosema.dictionaries.activation_functions.activation import Activated, Batch, register_activation
from monosema.dictionaries.activation_functions.rectified import Rectified
from monosema.dictionaries.losses import batch_variance
from monosema.dictionaries.protocol import Coder
from monosema.dictionaries.resampling import OFTEN

BEFORE = "threshold_before"
"""Thresholds as they are before the optimiser's step; kept between two calls alone."""


@register_activation
class JumpReLU(Rectified):
    """All above thresholds, under an L0 penalty; see the module's equation. The coder gets

    threshold: θ, float32, in the units of activations.
    """

    name = "jumprelu"
    title = "JumpReLU"
    kind = "jumprelu"
    coefficient = "l0_coefficient"
    keep_in_float32 = ("threshold",)
    in_units_of_codes = ("threshold",)
    averaged = ("threshold", "b_enc")

    l0_coefficient: float = Field(6e-4, ge=0)
    """λ: the share of variance that one more active latent must explain (Lieberum et al. 2024, arXiv:2408.05147)."""
    bandwidth: float = Field(0.02, gt=0)
    """ε in units of s. The paper's is 0.001, for runs of 10⁵ steps; in 90 steps FVU was 0.247 with it (at L0 22) and
    0.235 with 0.02 (at L0 24), with 2,048 latents on all-MiniLM activations."""
    start_threshold: float = Field(0.001, ge=0)
    """θ at the start in units of s, where `start_l0` is None (the paper's value)."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the run over which λ rises linearly."""
    resample_at: tuple[float, ...] = OFTEN
    """Shares of the run after which silent latents start anew towards residuals (ours); the paper has none."""

    def add_tensors(self, coder: Coder) -> None:
        """Add the thresholds."""
        thresholds = torch.full((coder.n_latents,), self.start_threshold, dtype=torch.float32)
        coder.keep("threshold", nn.Parameter(thresholds))

    def floor(self, coder: Coder) -> Float[Tensor, " n_latents"]:
        """The thresholds."""
        return coder.own("threshold").detach().clamp_min(0).to(coder.W_enc.dtype)

    def activate(self, coder: Coder, batch: Batch) -> Activated:
        """Compute what lies above thresholds, and the penalty."""
        learned = coder.own("threshold")
        width = self.bandwidth * float((batch.variance / batch.rows).sqrt())
        floor = (learned.detach() - width / 2).clamp_min(0).to(batch.x.dtype)
        pre, active = self.entries(coder, batch, floor)
        pre = pre.relu()
        threshold = active.spread(learned).expand_as(pre)
        penalty = self.l0_coefficient * batch.context.warm_up(self.warmup) / batch.rows
        l0 = above(pre, threshold, width).sum() * penalty
        return Activated(jump(pre, threshold, width), active, {"l0": l0})

    def fit(self, coder: Coder, x: Float[Tensor, "n d_in"]) -> None:
        """Set thresholds to what leaves `start_l0` latents active."""
        threshold = coder.own("threshold")
        if self.start_l0 is not None:
            threshold.copy_(self.sparse_levels(coder, x, self.start_l0))
        else:
            threshold.fill_(self.start_threshold * float((batch_variance(x) / max(1, len(x))).sqrt()))

    def before_step(self, coder: Coder) -> None:
        """Remember thresholds as they are."""
        vars(coder)[BEFORE] = coder.own("threshold").detach().clone()

    def after_step(self, coder: Coder) -> None:
        """Make the step of thresholds √d times as long, and keep them at 0 or above."""
        threshold, before = coder.own("threshold"), vars(coder).pop(BEFORE, None)
        if before is not None:
            threshold.add_(threshold - before, alpha=coder.d_in**0.5 - 1)
        threshold.clamp_min_(0)


def jump(pre: Tensor, threshold: Tensor, width: float) -> Tensor:
    """Compute z · 1[z > θ] of pre-activations that are not below 0, with the straight-through gradient of θ."""
    return _JumpReLU.apply(pre, threshold, width)


def above(pre: Tensor, threshold: Tensor, width: float) -> Tensor:
    """Compute 1[z > θ] as a number, with the straight-through gradient of θ and none of z."""
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
