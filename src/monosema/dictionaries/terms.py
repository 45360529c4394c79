"""What loss terms are made of, in every architecture."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Losses, Moment
from monosema.kernels.sharing import grid

__all__ = ["batch_variance", "losses_of", "warm_up"]

LEAST = 1e-12
"""Variance of a batch of equal rows, such as of one row: keeps its loss finite."""


def warm_up(moment: Moment, share: float) -> float:
    """Linear rise from 0 to 1 over a share of the run; 1 where the share is 0."""
    rise = share * moment.steps
    return min(1.0, (moment.step + 1) / rise) if rise > 0 else 1.0


def batch_variance(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Σ ‖x − x̄‖² over a batch. Where processes share it (`kernels.sharing`): of the whole batch, over their number."""
    together, mean = grid(), x.mean(dim=0)
    if together is None:
        return (x - mean).square().sum().clamp_min(LEAST)
    mean = together.sum_over_rows(mean) / together.groups
    whole = together.sum_over_rows((x - mean).square().sum())
    return (whole / together.groups).clamp_min(LEAST)


def losses_of(
    terms: dict[str, Float[Tensor, ""]],
    codes: Codes,
    residual: Float[Tensor, "n d"],
    variance: Float[Tensor, ""],
) -> Losses:
    """The sum of weighted terms, and what is recorded with them."""
    fvu = residual.detach().square().sum() / variance
    return Losses(torch.stack(list(terms.values())).sum(), {n: t.detach() for n, t in terms.items()}, codes, fvu)
