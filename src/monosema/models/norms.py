"""LayerNorm and RMSNorm, with their sites."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from monosema.models.taps import Tap


class Norm(nn.Module):
    """LayerNorm (Ba et al. 2016, arXiv 1607.06450) or RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467).

        LayerNorm   y = (x - mean(x)) / √(var(x) + ε) · w + b
        RMSNorm     y = x / √(mean(x²) + ε) · w            (rms_offset: w is stored as its distance from 1)

    Computed in float32 whatever the precision of x. Sites as in TransformerLens: ``scale`` is the root, with a last
    dimension of 1; ``normalized`` is the result after w and b for LayerNorm, the quotient before w for RMSNorm.
    """

    def __init__(self, width: int, kind: Literal["layer", "rms", "rms_offset"], eps: float) -> None:
        super().__init__()
        self.kind = kind
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(width) if kind == "rms_offset" else torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if kind == "layer" else None

    def gain(self) -> Float[Tensor, " width"]:
        """What the quotient is multiplied with, in float32."""
        weight = self.weight.float()
        return 1 + weight if self.kind == "rms_offset" else weight

    def forward(
        self, x: Float[Tensor, "*batch width"], tap: Tap | None = None, name: str = ""
    ) -> Float[Tensor, "*batch width"]:
        """Normalise over the last dimension; `name` is the norm's in the sites (``ln1``)."""
        if tap is not None and tap.wants(f"{name}.scale", f"{name}.normalized"):
            return self._step_by_step(x, tap, name)
        if self.kind == "layer":
            return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        if self.kind == "rms":
            return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return nn.functional.rms_norm(x.float(), self.weight.shape, self.gain(), self.eps).to(x.dtype)

    def _step_by_step(self, x: Tensor, tap: Tap, name: str) -> Tensor:
        h = x.float()
        if self.kind == "layer":
            h = h - h.mean(-1, keepdim=True)
        scale = tap(f"{name}.scale", (h.square().mean(-1, keepdim=True) + self.eps).sqrt())
        h = h / scale
        if self.bias is not None:
            return tap(f"{name}.normalized", h * self.gain() + self.bias.float()).to(x.dtype)
        return (tap(f"{name}.normalized", h) * self.gain()).to(x.dtype)
