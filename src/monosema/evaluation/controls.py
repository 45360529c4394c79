"""Controls of an evaluation: PCA, which asks what sparsity costs, and random directions, which ask what training
gives."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from monosema.dictionaries import Dictionary, Pca, RandomDirections

_ROWS = 4096
"""Rows that PCA sums up at a time."""


def fit_controls(sample: Float[Tensor, "rows d"], n_latents: int, k: int, seed: int = 0) -> dict[str, Dictionary]:
    """Fit the controls of a dictionary to rows: "pca" with as many components as latents are active, and "random".

    Args:
        sample: of what the dictionary reconstructs.
        n_latents, k: latents of the random dictionary, and those that are active on a row.

    Raises:
        ConfigError: a k out of range.
        VectorError: no rows, or NaN or infinity in them.
    """
    return {
        "pca": Pca.fit(sample.split(_ROWS), min(k, sample.shape[1])),
        "random": RandomDirections.fit(sample, n_latents, k, seed=seed),
    }
