"""Features of two dictionaries matched by their decoder directions: pairs that are each other's nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from monosema.core import InputError

MOST_PRODUCTS = 2e12
"""Multiplications up to which all pairs are compared."""
_BLOCK = 2048
_RANDOM = 256


@dataclass(frozen=True)
class Matching:
    """Pairs of two dictionaries' latents, each the other's nearest by cosine, the nearest first.

    Attributes:
        a, b, cosine: of each pair, shape (pairs,).
        nearest: cosine of each latent of the first with its nearest in the second, shape (n_a,).
        chance: median of the same for random directions.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    cosine: NDArray[np.float32]
    nearest: NDArray[np.float32]
    chance: float


@torch.inference_mode()
def match(a: Float[Tensor, "n_a d"], b: Tensor) -> Matching:
    """Match directions; those without length match nothing.

    Raises:
        InputError: they are of different widths, or too many to compare all pairs.
    """
    if a.shape[1] != b.shape[1]:
        one, other = a.shape[1], b.shape[1]
        raise InputError(
            f"These dictionaries can’t be matched: directions of one have {one} values, of the other {other}."
        )
    if a.shape[0] * b.shape[0] * a.shape[1] > MOST_PRODUCTS:
        raise InputError(f"These dictionaries are too large to match here: {a.shape[0]:,} and {b.shape[0]:,} latents.")
    a, b = (torch.nn.functional.normalize(one.detach().float().cpu(), dim=1) for one in (a, b))
    best_of_b = torch.full((len(b),), -2.0)
    from_b = torch.zeros(len(b), dtype=torch.long)
    nearest, to_b = torch.zeros(len(a)), torch.zeros(len(a), dtype=torch.long)
    for start in range(0, len(a), _BLOCK):
        cosine = (a[start : start + _BLOCK] @ b.T).clamp(-1, 1)  # products of unit vectors, but for rounding
        nearest[start : start + _BLOCK], to_b[start : start + _BLOCK] = cosine.max(dim=1)
        best, row = cosine.max(dim=0)
        better = best > best_of_b
        best_of_b[better], from_b[better] = best[better], row[better] + start
    mutual = torch.nonzero((from_b[to_b] == torch.arange(len(a))) & (nearest > 0))[:, 0]
    mutual = mutual[nearest[mutual].argsort(descending=True)]
    random = torch.randn(_RANDOM, a.shape[1], generator=torch.Generator().manual_seed(0))
    chance = (torch.nn.functional.normalize(random, dim=1) @ b.T).max(dim=1).values.median()
    return Matching(mutual.numpy(), to_b[mutual].numpy(), nearest[mutual].numpy(), nearest.numpy(), float(chance))
