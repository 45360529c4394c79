"""Mean and scale of activations in one pass, and the change of units that dictionaries are trained in.

Welford 1962, "Note on a method for calculating corrected sums of squares and products" (Technometrics 4:3), in the
form of Chan, Golub and LeVeque 1979 that takes in many rows at a time: with n rows of mean μ and m new ones of mean ν,

    μ' = μ + (ν - μ) m / (n + m)        S' = S + S_new + ‖ν - μ‖² n m / (n + m)

where S is the sum of squared deviations from the mean. All sums are in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations.source import RowSource, place_of
from monosema.core import Site, VectorError, numpy_generator

PIECE = 4_096


class Welford:
    """Running mean and sums of squares of rows.

    Attributes:
        n: rows so far.
        mean: mean of each value.
        deviations: sum of squared deviations from the mean, of each value.
    """

    def __init__(self, width: int) -> None:
        self.n = 0
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.deviations = torch.zeros(width, dtype=torch.float64)

    def add(self, rows: Float[Tensor, "n width"]) -> None:
        """Take in rows."""
        m = len(rows)
        if m == 0:
            return
        exact = rows.to(torch.float64)
        new_mean = exact.mean(dim=0)
        step = new_mean - self.mean
        total = self.n + m
        self.deviations += (exact - new_mean).square_().sum(dim=0) + step.square() * (self.n * m / total)
        self.mean += step * (m / total)
        self.n = total

    @property
    def variance(self) -> Float[Tensor, " width"]:
        """Variance of each value (divided by n); zero before two rows."""
        return self.deviations / max(self.n, 1)

    def mean_square_norm(self, *, centred: bool) -> float:
        """Mean of ‖x - mean‖², or of ‖x‖²."""
        return float(self.variance.sum() + (0.0 if centred else self.mean.square().sum()))


@dataclass(frozen=True)
class Preprocessing:
    """y = (x - mean) · scale, the units a dictionary is trained in.

    Attributes:
        mean: subtracted from each row.
        scale: makes the root-mean-square norm of the rows √d, so that learning rates and thresholds carry over from
            one model and site to the next; of several sites side by side, one for each value, equal within a site.
    """

    mean: Float[Tensor, " width"]
    scale: float | Float[Tensor, " width"]

    def __call__(self, rows: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        """Into training units."""
        return (rows - self.mean) * self.scale

    def inverse(self, rows: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        """Back to the model's units."""
        return rows / self.scale + self.mean

    @classmethod
    def identity(cls, width: int) -> Preprocessing:
        """No change."""
        return cls(torch.zeros(width), 1.0)

    @classmethod
    def joined(cls, parts: Sequence[Preprocessing | None], widths: Sequence[int]) -> Preprocessing:
        """Each site's own, side by side; None changes nothing."""
        known = [part or cls.identity(width) for part, width in zip(parts, widths, strict=True)]
        scales = [torch.ones_like(part.mean) * part.scale for part in known]
        return cls(torch.cat([part.mean for part in known]), torch.cat(scales))


def fit_preprocessing(
    source: RowSource,
    site: Site | str | None = None,
    *,
    rows: slice = slice(None),
    center: bool = True,
    scale: bool = True,
    sample: int | None = 262_144,
    seed: int = 0,
) -> Preprocessing:
    """Mean and scale of a store's rows.

    Args:
        site: which site; may be left out where the store has one only.
        rows: which rows, as for the stream: held-out ones must not be looked at.
        center: subtract the mean; otherwise the mean is 0.
        scale: make the root-mean-square norm √width; otherwise the scale is 1.
        sample: rows to look at, taken in runs from everywhere; None looks at all.
        seed: seed of the sample.

    Raises VectorError where there are no rows, or where all are equal, so that no scale can be given.
    """
    site = Site.parse(source.sites[0] if site is None else site)
    start, stop, _ = rows.indices(source.rows)
    if stop <= start:
        raise VectorError(f"{source.name} has no rows in {start}:{stop} to take the mean of.")
    starts = list(range(start, stop, PIECE))
    if sample is not None and stop - start > sample:
        chosen = numpy_generator(seed, "preprocessing").permutation(len(starts))[: max(sample // PIECE, 1)]
        starts = [starts[index] for index in sorted(chosen.tolist())]
    sums = Welford(source.width(site))
    for first in starts:
        sums.add(source.read(site, first, min(first + PIECE, stop)))
    mean = sums.mean if center else torch.zeros_like(sums.mean)
    square = sums.mean_square_norm(centred=center)
    if scale and not (square > 0 and math.isfinite(square)):
        raise VectorError(
            f"All {sums.n:,} rows of {place_of(source, site)} are equal: there is nothing for a dictionary to learn."
            if sums.n > 1
            else f"{place_of(source, site)} has one row: there is nothing that it differs from. Give more rows."
        )
    return Preprocessing(mean.to(torch.float32), math.sqrt(source.width(site) / square) if scale else 1.0)
