"""Erasure: an affine map after which a concept can't be read from activations, each with what it takes out.

    x′ = x − A B (x − μ)       B reads r numbers off, A says along which vectors they are taken out

    one direction     A = Bᵀ = u, a unit vector: a latent's direction, the difference of means, a random one
    LEACE             B = Uᵀ W,  A = W⁺ U,  W = Σ_xx^(−1/2),  U an orthonormal basis of the columns of W Σ_xz

LEACE (Belrose et al. 2023, arXiv:2306.03819) leaves nothing of z to any linear reader, and of all such maps it
changes x least. Of two classes each has rank 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import InputError, torch_generator
from monosema.interventions import TEXT
from monosema.models import Action, ForwardContext

_RANK = 1e-10
"""Variance, as a share of the largest, below which a direction counts as one that the rows never leave."""


@dataclass(frozen=True, eq=False)
class Eraser:
    """An affine map that takes a concept out.

    Attributes:
        mean: μ, which stays as it is.
        reads: B.
        writes: A, as rows.
    """

    mean: Float[Tensor, " d"]
    reads: Float[Tensor, "r d"]
    writes: Float[Tensor, "r d"]

    def __call__(self, x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
        """Return the rows without the concept."""
        return x - ((x - self.mean) @ self.reads.T) @ self.writes

    @property
    def rank(self) -> int:
        """Directions that are taken out."""
        return len(self.reads)


def erasing(eraser: Eraser) -> Action:
    """Return the action that takes the concept out at all positions of text."""

    def act(x: Tensor, context: ForwardContext) -> Tensor:
        where = torch.isin(context.roles, torch.tensor([*TEXT], device=x.device))
        return torch.where(where.unsqueeze(-1), eraser(x.float()).to(x.dtype), x)

    return act


def along(direction: Float[Tensor, " d"], mean: Float[Tensor, " d"]) -> Eraser:
    """Return the eraser of one direction, through the mean."""
    unit = (direction / direction.norm()).unsqueeze(0)
    return Eraser(mean, unit, unit)


def mean_difference(rows: Float[Tensor, "n d"], labels: Float[Tensor, " n"]) -> Eraser:
    """Return the eraser of the difference between the means of rows of label 1 and of label 0."""
    _require_both(labels)
    return along(rows[labels == 1].mean(0) - rows[labels == 0].mean(0), rows.mean(0))


def random_direction(rows: Float[Tensor, "n d"], seed: int) -> Eraser:
    """Return the eraser of a random direction."""
    noise = torch.randn(rows.shape[1], generator=torch_generator(seed, "random eraser")).to(rows)
    return along(noise, rows.mean(0))


def leace(rows: Float[Tensor, "n d"], labels: Float[Tensor, " n"]) -> Eraser:
    """Return the least map after which the covariance of rows and labels is zero; computed in float64."""
    _require_both(labels)
    x, z = rows.double(), labels.double()
    mean = x.mean(0)
    centred = x - mean
    covariance = centred.T @ centred / len(x)
    crossed = centred.T @ (z - z.mean()).unsqueeze(1) / len(x)
    values, vectors = torch.linalg.eigh(covariance)
    there = values > _RANK * values[-1]
    root, basis = values[there].sqrt(), vectors[:, there]
    whiten, unwhiten = (basis / root) @ basis.T, (basis * root) @ basis.T
    unit = whiten @ crossed
    unit = unit / unit.norm()
    return Eraser(mean.to(rows), (unit.T @ whiten).to(rows), (unwhiten @ unit).T.contiguous().to(rows))


def _require_both(labels: Float[Tensor, " n"]) -> None:
    if not bool((labels == 1).any() and (labels == 0).any()):
        raise InputError("A concept is erased between two classes: give rows of both.")
