"""Strength of a push along a direction, at a given effect on the model's predictions."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.core import Site
from monosema.models import LanguageModel

# Strengths that are tried, in multiples of the activation's own norm, and how near the divergence must come.
_SMALLEST, _LARGEST = 2.0**-4, 2.0**10
_NEAR = 1.05


@torch.no_grad()
def strength_at(
    model: LanguageModel, site: Site | str, direction: Float[Tensor, " d"], tokens: Int[Tensor, "n pos"], kl: float
) -> float | None:
    """Find the strength at which adding the direction moves next-token distributions by `kl`; None where none does."""
    tokens = tokens.to(model.device)
    with model.capture(site) as got:
        before = model(tokens).float().log_softmax(-1)
    norm = float(direction.norm())
    if norm == 0:
        return None
    unit = float(got[site].float().norm(dim=-1).mean()) / norm

    def moved(strength: float) -> float:
        with model.edit(site, lambda x: x + (strength * unit * direction).to(x)):
            after = model(tokens).float().log_softmax(-1)
        return float((after.exp() * (after - before)).sum(-1).mean())

    low = high = _SMALLEST
    while moved(high) < kl:
        low, high = high, 2 * high
        if high > _LARGEST:
            return None
    while high > low * _NEAR:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if moved(middle) < kl else (low, middle)
    return high * unit
