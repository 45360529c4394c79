"""Half-way: how much of something is needed to come half of the way, and how much less that is than for another.

Of a curve of divergences against amounts (features, sizes of edits), the amount at which the mean divergence first
falls to half of what it is with nothing done; between two measured points along the straight line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from monosema.core import Estimate
from monosema.core.seeds import numpy_generator

SHARE = 0.5
"""Of the divergence with nothing done, what is to be left."""
_DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Curve:
    """Divergences against amounts, of one seed.

    Attributes:
        amounts: one for each point, of all prompts (features), or of each prompt (sizes of edits).
        divergences: of each prompt; one of the points has nothing done.
    """

    amounts: Float[np.ndarray, "points _"]
    divergences: Float[np.ndarray, "points n"]

    def halfway(self, prompts: np.ndarray | None = None) -> float:
        """Return the amount that is needed, on some of the prompts; infinite where no point comes so near."""
        pick = slice(None) if prompts is None else prompts
        left = self.divergences[:, pick].mean(1)
        spent = (self.amounts if self.amounts.shape[1] == 1 else self.amounts[:, pick]).mean(1)
        order = np.argsort(spent, kind="stable")
        left, spent = left[order], spent[order]
        target = SHARE * left[0]
        reached = np.flatnonzero(left <= target)
        if not len(reached):
            return float("inf")
        at = int(reached[0])
        if at == 0:
            return float(spent[0])
        over = (left[at - 1] - target) / (left[at - 1] - left[at])
        return float(spent[at - 1] + over * (spent[at] - spent[at - 1]))


def needed(curves: Sequence[Curve]) -> float:
    """Return what is needed, the geometric mean over seeds; infinite where a seed never comes half-way."""
    return _mean([curve.halfway() for curve in curves])


def needed_against(own: Sequence[Curve], other: Sequence[Curve], seed: int = 0) -> Estimate | None:
    """Return what `own` needs as a share of what `other` needs, with a bootstrap interval over prompts and seeds.

    None where either never comes half-way; an end is infinite where too many draws of `own` never do.
    """
    value = needed(own) / needed(other) if np.isfinite([needed(own), needed(other)]).all() else np.inf
    if not np.isfinite(value):
        return None
    rng = numpy_generator(seed, "half-way")
    n, drawn = own[0].divergences.shape[1], []
    for _ in range(_DRAWS):
        prompts = rng.integers(0, n, n)
        pair = [
            _mean([curves[i].halfway(prompts) for i in rng.integers(0, len(curves), len(curves))])
            for curves in (own, other)
        ]
        drawn.append(pair[0] / pair[1] if np.isfinite(pair[1]) else 0.0)
    # Between two infinite draws there is nothing to interpolate.
    low, high = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
    return Estimate(value, float(low), float(high), n, "bootstrap over prompts and seeds")


def _mean(amounts: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(np.maximum(amounts, 1e-9)))))
