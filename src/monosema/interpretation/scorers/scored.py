"""What a scorer says of many latents, and the statistics that scorers of their own share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from monosema.core import Estimate, numpy_generator
from monosema.interpretation.protocol import Explained

_RESAMPLES = 1000


@dataclass(frozen=True)
class Scored:
    """Figures of one scorer. A latent is in `estimates` or in `absent`, never in both.

    Attributes:
        scorer: its name in the atlas.
        estimates: the figure of each latent, with its interval.
        controls: the same figure for a shuffled explanation, or what chance gives; absent where it could not be had.
        absent: why there is no figure.
    """

    scorer: str
    estimates: Mapping[int, Estimate]
    controls: Mapping[int, float]
    absent: Mapping[int, str]

    @property
    def failures(self) -> dict[str, int]:
        """How many latents have no figure, by reason."""
        return dict(Counter(self.absent.values()))

    def without(self, latents: Collection[int], reason: str) -> Scored:
        """The same, but some latents have no figure, for this reason."""
        gone = {latent: reason for latent in latents if latent in self.estimates or latent in self.absent}
        estimates = {latent: one for latent, one in self.estimates.items() if latent not in gone}
        controls = {latent: one for latent, one in self.controls.items() if latent not in gone}
        return replace(self, estimates=estimates, controls=controls, absent={**self.absent, **gone})


def area_under_curve(
    values: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], seed: int = 0
) -> Estimate | None:
    """Probability that a positive has a greater value than a negative, ties counting half (Mann and Whitney 1947).

    The interval is a percentile bootstrap that draws positives and negatives apart. NaN values are left out.

    Returns:
        None where there are no positives or no negatives.
    """
    known = ~np.isnan(values)
    high, low = values[known & positive], values[known & ~positive]
    if not len(high) or not len(low):
        return None
    wins = (high[:, None] > low).astype(np.float64) + 0.5 * (high[:, None] == low)
    draws = numpy_generator(seed, "bootstrap")
    weights = [draws.multinomial(len(side), np.full(len(side), 1 / len(side)), _RESAMPLES) for side in (high, low)]
    areas = ((weights[0] @ wins) * weights[1]).sum(axis=1) / wins.size
    ends = np.quantile(areas, [0.025, 0.975])
    return Estimate(float(wins.mean()), float(ends[0]), float(ends[1]), int(known.sum()))


def shuffled(explained: Mapping[int, Explained], seed: int = 0) -> dict[int, Explained]:
    """Each latent has what was said of another, in an order drawn at random; empty with fewer than two."""
    latents = np.array(sorted(explained))
    if len(latents) < 2:
        return {}
    order: NDArray[np.int64] = numpy_generator(seed, "shuffled explanations").permutation(latents)
    pairs = zip(order.tolist(), np.roll(order, 1).tolist(), strict=True)
    return {latent: replace(explained[other], latent=latent) for latent, other in pairs}


def score_areas(
    scorer: str,
    values: Callable[[Mapping[int, Explained]], NDArray[np.floating]],
    explained: Mapping[int, Explained],
    latents: Int[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    reason: str,
    seed: int = 0,
) -> Scored:
    """The area under the curve of each latent, and of the shuffled explanations as the control.

    Args:
        values: from explanations to one value an entry, NaN where it could not be had.
        latents, positive: of the entries.
        reason: why a latent has no figure, if it has none.
    """

    def areas(said: Mapping[int, Explained]) -> dict[int, Estimate]:
        given = values(said) if said else np.zeros(0)
        found = {
            latent: area_under_curve(given[latents == latent], positive[latents == latent], seed) for latent in said
        }
        return {latent: estimate for latent, estimate in found.items() if estimate is not None}

    estimates = areas(explained)
    others = areas(shuffled(explained, seed))
    controls = {latent: estimate.value for latent, estimate in others.items() if latent in estimates}
    return Scored(scorer, estimates, controls, {latent: reason for latent in explained if latent not in estimates})
