"""Normalisation of each row, which foreign dictionaries come with.

layer_norm:  N(x) = (x − μ) / (σ + ε),   N⁻¹(ŷ) = σ ŷ + μ,    μ, σ mean and unbiased deviation of x's values
rescale:     N(x) = x √d / ‖x‖,          N⁻¹(ŷ) = ŷ ‖x‖ / √d
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.dictionaries.coder_config import Normalisation

EPSILON = 1e-5
"""ε of layer_norm, as in OpenAI's and SAELens' code."""


def normalise(x: Float[Tensor, "n d"], kind: Normalisation) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return N(x), and the scale and shift of each row that undo it; None where there is nothing to undo."""
    if kind == "none":
        return x, None, None
    width = x.shape[1]
    if kind == "rescale":
        scale = torch.linalg.vector_norm(x, dim=1, keepdim=True) / width**0.5
        return x / scale.clamp_min(torch.finfo(x.dtype).tiny), scale, None
    shift = x.mean(dim=1, keepdim=True)
    centred = x - shift
    scale = (centred.square().sum(dim=1, keepdim=True) / max(1, width - 1)).sqrt()
    return centred / (scale + EPSILON), scale, shift
