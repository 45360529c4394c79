"""A measured figure with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from monosema.core.seeds import numpy_generator

_RESAMPLES = 1000
_LEVEL = 0.95
Z = 1.959963984540054
"""Quantile of the normal distribution that leaves 2.5 % above it."""


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % confidence interval, and the number of independent units behind it.

    Attributes:
        value: the figure on the whole sample.
        low, high: ends of the interval.
        n: independent units (documents, windows, prompts), not tokens.
        method: how the interval was made.
    """

    value: float
    low: float
    high: float
    n: int
    method: str = "bootstrap"

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def to_dict(self) -> dict[str, float | int | str]:
        """Plain values for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "method": self.method}


def bootstrap_mean(values: ArrayLike, seed: int = 0) -> Estimate:
    """Mean over independent units, with a percentile bootstrap interval.

    Args:
        values: one figure a unit, shape (n,).
    """
    values = np.asarray(values, dtype=np.float64)
    return bootstrap_ratio(values, np.ones_like(values), seed)


def bootstrap_ratio(numerators: ArrayLike, denominators: ArrayLike, seed: int = 0) -> Estimate:
    """Ratio of two sums over the same independent units (FVU; a mean per token over documents of unlike length),
    with a percentile bootstrap interval that draws units, not tokens.

    Args:
        numerators, denominators: one figure a unit each, shape (n,).

    Raises:
        ValueError: no units, or denominators that sum to zero.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim != 1 or top.size == 0:
        raise ValueError(f"Need two vectors of one length above 0, got shapes {top.shape} and {bottom.shape}.")
    if bottom.sum() == 0:
        raise ValueError("The denominators sum to zero.")
    draws = numpy_generator(seed, "bootstrap").integers(0, top.size, size=(_RESAMPLES, top.size), dtype=np.int32)
    # Draws of equal denominators, as a mean has, all have the same sum.
    below = bottom[draws].sum(axis=1) if np.ptp(bottom) else bottom.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = top[draws].sum(axis=1) / below
    ratios = ratios[np.isfinite(ratios)]
    low, high = np.quantile(ratios, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(float(top.sum() / bottom.sum()), float(low), float(high), int(top.size))


def bootstrap_correlation(x: ArrayLike, y: ArrayLike, seed: int = 0) -> Estimate:
    """Pearson's correlation over independent units, with a percentile bootstrap interval; of ranks it is Spearman's.

    Args:
        x, y: one figure a unit each, shape (n,), or several, shape (n, figures), which are drawn together.

    Raises:
        ValueError: fewer than 3 units, or units that are all equal.
    """
    pairs = np.stack([np.asarray(one, dtype=np.float64) for one in (x, y)])
    n = pairs.shape[1]
    if n < 3 or not np.ptp(pairs.reshape(2, -1), axis=1).all():
        raise ValueError(f"A correlation needs 3 or more units that differ, got {n}.")
    draws = numpy_generator(seed, "bootstrap").integers(0, n, size=(_RESAMPLES, n), dtype=np.int32)
    # A draw of equal units has no correlation.
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = _pearson(pairs[:, draws].reshape(2, _RESAMPLES, -1))
    low, high = np.nanquantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(float(_pearson(pairs.reshape(2, -1))), float(low), float(high), n)


def _pearson(pairs: Float[NDArray[np.float64], "2 *draws n"]) -> Float[NDArray[np.float64], "*draws"]:
    x, y = pairs - pairs.mean(axis=-1, keepdims=True)
    return np.asarray((x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1)))


def wilson(successes: int, n: int) -> Estimate:
    """Share of successes with Wilson's score interval (Wilson 1927), which holds near 0 and 1."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"Need 0 <= successes <= n and n > 0, got {successes} of {n}.")
    low, high = wilson_ends(np.array([successes / n]), np.array([float(n)]))
    return Estimate(successes / n, float(low[0]), float(high[0]), n, "wilson")


def wilson_ends(
    share: Float[np.ndarray, " shares"], n: Float[np.ndarray, " shares"]
) -> tuple[Float[NDArray[np.float64], " shares"], Float[NDArray[np.float64], " shares"]]:
    """Ends of Wilson's score interval of many shares, each of n trials; n may be an effective number.

    NaN where n is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # Rounding must not put the share outside of its own interval.
    return np.clip(np.minimum(centre - half, share), 0, 1), np.clip(np.maximum(centre + half, share), 0, 1)
