"""Scores of many latents by one metric, and the statistics that scorers share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from monosema.atlas import Explanation, Score
from monosema.core import Estimate, bootstrap_mean, numpy_generator, wilson

CONTROLS_RULE = (
    "An explanation is above the controls where the low end of its 95 % interval is above chance (0 for a correlation, "
    "½ for a balanced accuracy) and above the score of another feature's explanation on the same feature."
)
RANDOM_RULE = (
    "Above random means: above the controls, and above the median of latents of random directions, explained and "
    "scored alike."
)
RESAMPLES = 1000
_TRIES = 100
"""Explanations looked at for one that says something else."""
RandomScores = Mapping[str, Mapping[str, Sequence[float]]]
"""Scores of latents of random directions, by method and metric."""


@dataclass(frozen=True)
class ScoreTable:
    """Scores of explanations by one metric. A latent is in `estimates` or in `absent`, never in both.

    Attributes:
        scorer: name of the metric in the atlas: a scorer's own, or one beside it, such as "detection F1".
        estimates: score of each latent, with its interval.
        absent: reason for each latent without a score.
        controls: score of a shuffled explanation for the same latent, or chance; missing where it has none.
        chance: score of an explanation without content; None where there is no such number.
        unit: name of the quantity on an axis.
        rank: preference where features' labels are compared by one metric, the lowest first; None for the last.
        part: "" for a scorer's own metric, "subset" for the same on some of the passages, "detail" for another metric
            of the same answers.
    """

    scorer: str
    estimates: Mapping[int, Estimate]
    absent: Mapping[int, str] = field(default_factory=dict)
    controls: Mapping[int, float] = field(default_factory=dict)
    chance: float | None = None
    unit: str = ""
    rank: int | None = None
    part: Literal["", "subset", "detail"] = ""

    @property
    def failures(self) -> dict[str, int]:
        """Number of latents without a score, by reason."""
        return dict(Counter(self.absent.values()))

    @property
    def mean(self) -> Estimate | None:
        """Mean over latents with a bootstrap interval over them; None without any score."""
        return _mean(estimate.value for estimate in self.estimates.values())

    @property
    def control(self) -> Estimate | None:
        """Mean of the controls, likewise."""
        return _mean(self.controls.values())

    def without(self, latents: Collection[int], reason: str) -> ScoreTable:
        """Return the table with some latents absent, for a reason."""
        gone = {latent: reason for latent in latents if latent in self.estimates or latent in self.absent}
        estimates = {latent: one for latent, one in self.estimates.items() if latent not in gone}
        controls = {latent: one for latent, one in self.controls.items() if latent not in gone}
        return replace(self, estimates=estimates, controls=controls, absent={**self.absent, **gone})

    def controlled_by(self, other: ScoreTable) -> ScoreTable:
        """Return the table with the scores of another table as controls; what has none there, for it predicts the same
        everywhere, says no more than chance."""
        nothing = {} if other.chance is None else dict.fromkeys(other.absent, other.chance)
        values = nothing | {latent: one.value for latent, one in other.estimates.items()}
        return replace(self, controls={latent: one for latent, one in values.items() if latent in self.estimates})

    def above(self, least: float | None = None) -> list[int]:
        """Return the latents whose interval lies above chance, their control, and `least` where it is given."""
        floor = max(value for value in (self.chance, least, -np.inf) if value is not None)
        return [
            latent
            for latent, estimate in self.estimates.items()
            if estimate.low > max(floor, self.controls.get(latent, floor))
        ]

    def row(
        self, method: str, latents: int, details: Sequence[ScoreTable] = (), random: Sequence[float] = ()
    ) -> dict[str, Any]:
        """Summarise the table as plain values for JSON; values that can't be computed are left out.

        Args:
            method: of the explanations.
            latents: number of latents that were to be explained; shares are of all of them.
            details: tables of other metrics of the same answers.
            random: scores of latents of random directions.
        """
        absent = Counter(self.absent.values())
        if (silent := latents - len(self.estimates) - len(self.absent)) > 0:
            absent["no explanation"] = silent
        shares = {
            "mean": self.mean,
            "control": self.control,
            "above": wilson(len(self.above()), latents) if latents else None,
            "random": _mean(random),
            "random_spread": spread(random),
            "above_random": wilson(len(self.above(float(np.median(random)))), latents) if latents and random else None,
        }
        prefix = f"{self.scorer} "
        means = {one.scorer.removeprefix(prefix): one.mean for one in details if one.scorer.startswith(prefix)}
        return {
            "method": method,
            "scorer": self.scorer,
            "unit": self.unit,
            "chance": self.chance,
            "part": self.part,
            **{name: one.to_dict() for name, one in shares.items() if one is not None},
            "details": {name: one.to_dict() for name, one in means.items() if one is not None},
            "absent": dict(absent),
        }


def _mean(values: Iterable[float]) -> Estimate | None:
    listed = list(values)
    return bootstrap_mean(listed) if listed else None


def spread(values: Sequence[float]) -> Estimate | None:
    """Return the median, the 2.5th and the 97.5th percentile of scores; None without any."""
    if not values:
        return None
    low, median, high = np.quantile(values, [0.025, 0.5, 0.975]).tolist()
    return Estimate(median, low, high, len(values), "percentiles")


def table_rows(
    method: str, tables: Sequence[ScoreTable], latents: int, random: Mapping[str, Sequence[float]] | None = None
) -> list[dict[str, Any]]:
    """Summarise the tables of one method; details stand in the row of the metric that they are details of.

    Args:
        random: scores of latents of random directions, by metric.
    """
    details = [table for table in tables if table.part == "detail"]
    return [
        table.row(method, latents, details, (random or {}).get(table.scorer, ()))
        for table in tables
        if table.part != "detail"
    ]


def joined(parts: Sequence[Sequence[ScoreTable]]) -> list[ScoreTable]:
    """Join the tables of disjoint sets of latents, metric by metric."""
    tables = []
    for same in zip(*parts, strict=True):
        columns = {
            name: {latent: value for one in same for latent, value in getattr(one, name).items()}
            for name in ("estimates", "absent", "controls")
        }
        tables.append(replace(same[0], **columns))
    return tables


def atlas_scores(
    tables: Sequence[ScoreTable],
    explanations: Mapping[int, Explanation],
    details: bool = True,
    random: Mapping[str, Sequence[float]] | None = None,
) -> dict[int, list[Score]]:
    """Return scores as an atlas records them, by latent.

    Args:
        details: with metrics beside scorers' own.
        random: scores of latents of random directions, by metric.
    """
    rows: dict[int, list[Score]] = {}
    for table in tables:
        beside = spread((random or {}).get(table.scorer, ()))
        for latent, estimate in table.estimates.items() if details or table.part != "detail" else ():
            identity, control = explanations[latent].identity, table.controls.get(latent)
            score = Score(*identity, table.scorer, estimate, control, table.rank, table.chance, beside)
            rows.setdefault(latent, []).append(score)
    return rows


def shuffled(explanations: Mapping[int, Explanation], seed: int = 0) -> dict[int, Explanation]:
    """Give each latent the explanation of another, drawn at random, that says something else where there is one near;
    empty with fewer than two latents."""
    latents = np.array(sorted(explanations))
    if len(latents) < 2:
        return {}
    order: list[int] = numpy_generator(seed, "shuffled explanations").permutation(latents).tolist()
    said = [explanations[latent].text for latent in order]
    steps = range(1, min(len(order), _TRIES))
    other = [next((i - step for step in steps if said[i - step] != said[i]), i - 1) for i in range(len(order))]
    return {latent: explanations[order[other[i]]] for i, latent in enumerate(order)}


def area_under_curve(
    values: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], seed: int = 0, resamples: int = RESAMPLES
) -> Estimate | None:
    """Estimate the probability that a positive has a greater value than a negative, ties counting half (Mann and
    Whitney 1947).

    The interval is a percentile bootstrap that draws positives and negatives apart; without resamples both its ends
    are the value. NaN values are left out.

    Returns:
        None without positives or without negatives.
    """
    known = ~np.isnan(values)
    high, low = values[known & positive], values[known & ~positive]
    if not len(high) or not len(low):
        return None
    wins = (high[:, None] > low).astype(np.float64) + 0.5 * (high[:, None] == low)
    ends = (wins.mean(), wins.mean())
    if resamples:
        draws = numpy_generator(seed, "bootstrap")
        weights = [draws.multinomial(len(some), np.full(len(some), 1 / len(some)), resamples) for some in (high, low)]
        areas = ((weights[0] @ wins) * weights[1]).sum(axis=1) / wins.size
        ends = tuple(np.quantile(areas, [0.025, 0.975]))
    return Estimate(float(wins.mean()), float(ends[0]), float(ends[1]), int(known.sum()))
