"""Reconstruction metrics: error, cosine, and the latents that are active.

    FVU = Σ ‖x − x̂‖² / Σ ‖x − μ‖²,   variance explained = 1 − FVU,   with μ the mean of the same held-out tokens

(several libraries centre on each batch, on each token, or on another set: those are other metrics). L0 is the mean
number of latents that are not 0; cosine the mean of cos(x, x̂).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from monosema.core import Estimate, VectorError, wilson
from monosema.dictionaries import Codes, Dictionary, reads_elsewhere
from monosema.evaluation.result import DensityHistogram
from monosema.evaluation.units import UnitSums

_BINS_PER_DECADE = 4
_DECADES = 7


class Reconstruction:
    """Sums of one dictionary's errors, filled batch by batch."""

    def __init__(self, name: str, dictionary: Dictionary, sums: UnitSums) -> None:
        self.name = name
        self.dictionary = dictionary
        self._sums = sums

    def add(self, x: Float[Tensor, "n d"], read: Float[Tensor, "n d_in"] | None = None) -> Float[Tensor, "n d"]:
        """Take the activations of the batch that was announced to the sums; gives the reconstructions.

        Args:
            read: for one that reads elsewhere, the activations that it makes x of; others read x.
        """
        own = read if read is not None and reads_elsewhere(self.dictionary) else x
        codes: Codes = self.dictionary.encode(own)
        rebuilt = self.dictionary.decode(codes)
        self._sums.add(f"{self.name}.error", (x - rebuilt).double().square().sum(dim=1))
        self._sums.add(f"{self.name}.cosine", torch.nn.functional.cosine_similarity(x, rebuilt, dim=1))
        self._sums.add(f"{self.name}.l0", codes.l0)
        self._sums.count(f"{self.name}.fired", codes.counts())
        return rebuilt

    def metrics(self) -> tuple[dict[str, Estimate], dict[str, str]]:
        """Metrics, and those that are absent with the reason."""
        sums = self._sums
        tokens = sums["tokens"]
        metrics = {
            "cosine": sums.ratio(sums[f"{self.name}.cosine"], tokens),
            "l0": sums.ratio(sums[f"{self.name}.l0"], tokens),
            "alive": wilson(int((self._fired > 0).sum()), self.dictionary.n_latents),
        }
        total = variance(sums)
        if not total.sum() > 0:
            return metrics, dict.fromkeys(("fvu", "variance_explained"), "the activations are all alike")
        fvu = sums.ratio(sums[f"{self.name}.error"], total)
        metrics["fvu"] = fvu
        metrics["variance_explained"] = Estimate(1 - fvu.value, 1 - fvu.high, 1 - fvu.low, fvu.n, fvu.method)
        return metrics, {}

    def density(self) -> DensityHistogram:
        """Histogram of the densities of the latents."""
        return density_histogram(self._fired, int(self._sums["tokens"].sum()))

    @property
    def _fired(self) -> Int[Tensor, " n_latents"]:
        return torch.from_numpy(self._sums.total(f"{self.name}.fired"))


def add_activations(
    sums: UnitSums, x: Float[Tensor, "n d"], about: Float[Tensor, " d"], *, is_mean: bool = False
) -> None:
    """Add the tokens, and what `variance` needs, once a batch.

    Args:
        about: any vector near their mean; `is_mean` says that it is the mean of all of them.

    Raises VectorError where activations are NaN or infinite.
    """
    away = x.double() - about
    square = away.square().sum(dim=1)
    if wrong := int((~square.isfinite()).sum()):
        raise VectorError(
            f"The activations of {wrong} of {len(x)} tokens of a batch are NaN or infinite. Load the model in float32 "
            "(dtype = 'float32'), or choose another site."
        )
    sums.add("tokens", torch.ones(len(x)))
    sums.add("square", square)
    if not is_mean:
        sums.add("away", away)


def variance(sums: UnitSums) -> NDArray[np.float64]:
    """Σ ‖x − μ‖² of each unit, with μ the mean of all tokens: Σ ‖x − a‖² − 2 (μ − a) · Σ (x − a) + n ‖μ − a‖²."""
    square = sums["square"]
    if "away" not in sums:
        return square
    away, tokens = sums["away"], sums["tokens"]
    shift = away.sum(axis=0) / tokens.sum()
    found = square - 2 * away @ shift + tokens * (shift @ shift)
    # Less than this is what rounding leaves.
    return np.where(found > 1e-12 * square, found, 0.0)


def density_histogram(counts: Int[Tensor, " n_latents"], tokens: int) -> DensityHistogram:
    """Latents by log₁₀ of the share of tokens on which they fire, from 10⁻⁷ to 1; rarer ones are in the first bin."""
    edges = [-_DECADES + index / _BINS_PER_DECADE for index in range(_DECADES * _BINS_PER_DECADE + 1)]
    fired = counts[counts > 0].double() / max(tokens, 1)
    bins = ((fired.log10() + _DECADES) * _BINS_PER_DECADE).floor().long().clamp(0, len(edges) - 2)
    binned = torch.bincount(bins, minlength=len(edges) - 1)
    return DensityHistogram(tuple(edges), tuple(binned.tolist()), int((counts == 0).sum()))
