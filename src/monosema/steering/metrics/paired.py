"""Differences between what was measured on the same prompts twice, with intervals that keep the pairs together."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

from monosema.core import Estimate, bootstrap_ratio, numpy_generator

_RESAMPLES = 1000
Pair = tuple[float | int, float | int]
"""Numerator and denominator."""
Sums = Float[np.ndarray, "2 units"]
"""Numerators (first row) and denominators of one figure, a column for each independent unit."""


def by_unit(pairs: Sequence[Pair], units: Sequence[Hashable]) -> Sums:
    """Add numerators and denominators up by the unit that each belongs to, in the order in which units come."""
    sums: dict[Hashable, list[float]] = {}
    for (top, bottom), unit in zip(pairs, units, strict=True):
        kept = sums.setdefault(unit, [0.0, 0.0])
        kept[0] += top
        kept[1] += bottom
    return np.array(list(sums.values()), dtype=np.float64).reshape(-1, 2).T


def ratio(sums: Sums) -> Estimate | None:
    """Estimate the ratio of the sums; None where there is nothing to divide by."""
    return bootstrap_ratio(sums[0], sums[1]) if sums.size and sums[1].sum() else None


def ratio_difference(sums: Sums, base: Sums, seed: int = 0) -> Estimate | None:
    """Estimate ratio(sums) − ratio(base) over the same units, by a bootstrap that draws units; None where one of the
    ratios does not exist."""
    if sums.shape != base.shape or not sums.size or not sums[1].sum() or not base[1].sum():
        return None
    n = sums.shape[1]
    draws = numpy_generator(seed, "paired").integers(0, n, size=(_RESAMPLES, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = sums[0][draws].sum(1) / sums[1][draws].sum(1) - base[0][draws].sum(1) / base[1][draws].sum(1)
    low, high = np.quantile(drawn[np.isfinite(drawn)], [0.025, 0.975])
    value = sums[0].sum() / sums[1].sum() - base[0].sum() / base[1].sum()
    return Estimate(float(value), float(low), float(high), n)


def exponential(estimate: Estimate | None) -> Estimate | None:
    """Carry an estimate in nats over to perplexities: e to the power of it."""
    if estimate is None:
        return None
    value, low, high = (_exp(one) for one in (estimate.value, estimate.low, estimate.high))
    return Estimate(value, low, high, estimate.n, estimate.method)


def _exp(nats: float) -> float:
    return math.exp(min(nats, 700.0))
