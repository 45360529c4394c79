"""Controls of an evaluation: PCA, which asks what sparsity costs, and random directions, which ask what training
gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations import activations_at
from monosema.core import Site
from monosema.data import TokenBatch
from monosema.dictionaries import Dictionary, Pca, RandomDirections
from monosema.models import LanguageModel

CONTROL_ROWS = 16_384
"""Rows that controls are fitted on, at most."""
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


@torch.no_grad()
def controls_at(
    model: LanguageModel,
    dictionary: Dictionary,
    read: Sequence[Site],
    written: Site,
    batches: Iterable[TokenBatch],
) -> tuple[dict[str, Dictionary], Float[Tensor, " d"]]:
    """Fit the controls of a dictionary that is not in a run, and compute the mean of what it is to reconstruct.

    Args:
        read, written: the sites that it reads side by side, and the one that it writes.
        batches: text to fit them to; all of its kept rows are held in memory.

    Returns:
        The controls, and the mean.
    """
    rows, targets = [], []
    for batch in batches:
        keep = batch.keep.to(model.device)
        rows.append(activations_at(model, read, batch)[keep].float())
        targets.append(rows[-1] if len(read) > 1 else activations_at(model, [written], batch)[keep].float())
    k = max(1, round(float(dictionary.encode(torch.cat(rows)).l0.mean())))
    target = torch.cat(targets)
    return fit_controls(target, dictionary.n_latents, min(k, dictionary.n_latents)), target.mean(dim=0)
