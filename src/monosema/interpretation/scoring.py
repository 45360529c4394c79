"""All scores that need nothing but a reader, for many latents, with their controls; and what they come to.

Controls of every figure: *shuffled*, the same figure for another latent's explanation, for each latent; and *empty*,
an explanation that says that nothing ever activates. An explanation counts as above the controls where the low end of
its interval is above both what chance gives (0 for a correlation, ½ for a balanced accuracy) and the figure of the
shuffled explanation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field

from monosema.atlas import Score
from monosema.core import Config, Estimate, bootstrap_mean, wilson
from monosema.interpretation.protocol import Explained, Reader
from monosema.interpretation.samples import Samples
from monosema.interpretation.scorers.classification import Classified
from monosema.interpretation.scorers.detection import DetectionConfig, score_detection
from monosema.interpretation.scorers.fuzzing import FuzzingConfig, score_fuzzing
from monosema.interpretation.scorers.scored import Scored, shuffled
from monosema.interpretation.scorers.simulation import SimulationConfig, score_simulation

__all__ = ["CHANCE", "Scores", "ScoringConfig", "TableRow", "above", "atlas_scores", "merged", "score", "table_row"]

CHANCE = {
    "simulation": 0.0,
    "simulation (top)": 0.0,
    "simulation (random)": 0.0,
    "detection": 0.5,
    "fuzzing": 0.5,
}
"""What an explanation without content gets, by scorer."""


class ScoringConfig(Config):
    """How explanations are scored."""

    simulation: SimulationConfig = SimulationConfig()
    detection: DetectionConfig = DetectionConfig()
    fuzzing: FuzzingConfig = FuzzingConfig()
    seed: int = Field(0, ge=0)
    """Decides which explanation the shuffled control gives to which latent."""


@dataclass(frozen=True)
class Scores:
    """Figures of the explanations of one method.

    Attributes:
        figures: of each scorer, with controls.
        details: figures without an interval, by name ("detection AUC", …) and latent.
    """

    figures: tuple[Scored, ...]
    details: Mapping[str, Mapping[int, float]]


def score(
    reader: Reader, explained: Mapping[int, Explained], samples: Samples, config: ScoringConfig | None = None
) -> Scores:
    """Simulation, detection and fuzzing of explanations, and of the same explanations shuffled."""
    config = config or ScoringConfig()
    figures, details = _all(reader, explained, samples, config)
    plain = config.replace(simulation=config.simulation.replace(resamples=0))
    others, _ = _all(reader, shuffled(explained, config.seed), samples, plain)
    found = []
    for one, other in zip(figures, others, strict=True):
        controls = {latent: figure.value for latent, figure in other.estimates.items() if latent in one.estimates}
        found.append(replace(one, controls=controls))
    return Scores(tuple(found), details)


def _all(
    reader: Reader, explained: Mapping[int, Explained], samples: Samples, config: ScoringConfig
) -> tuple[list[Scored], dict[str, Mapping[int, float]]]:
    detection = score_detection(reader, explained, samples, config.detection)
    fuzzing = score_fuzzing(reader, explained, samples, config.fuzzing)
    figures = [*score_simulation(reader, explained, samples, config.simulation)]
    details: dict[str, Mapping[int, float]] = {}
    named: tuple[tuple[str, Classified], ...] = (("detection", detection), ("fuzzing", fuzzing))
    for name, one in named:
        figures.append(Scored(name, one.accuracy, {}, one.absent))
        details |= {f"{name} F1": one.f1, f"{name} AUC": one.auc}
    return figures, details


def merged(parts: Sequence[Scores]) -> Scores:
    """The scores of disjoint sets of latents as one."""
    figures = []
    for same in zip(*(part.figures for part in parts), strict=True):
        joined: tuple[dict[int, Any], ...] = ({}, {}, {})
        for one in same:
            for whole, values in zip(joined, (one.estimates, one.controls, one.absent), strict=True):
                whole.update(values)
        figures.append(Scored(same[0].scorer, *joined))
    names = parts[0].details if parts else {}
    details = {name: {k: v for part in parts for k, v in part.details[name].items()} for name in names}
    return Scores(tuple(figures), details)


def above(scored: Scored) -> list[int]:
    """Latents whose figure is above the controls."""
    chance = CHANCE[scored.scorer]
    bar = {latent: max(chance, scored.controls.get(latent, chance)) for latent in scored.estimates}
    return [latent for latent, figure in scored.estimates.items() if figure.low > bar[latent]]


def atlas_scores(scores: Scores, author: str, method: str) -> dict[int, list[Score]]:
    """Scores as an atlas keeps them, by latent."""
    found: dict[int, list[Score]] = {}
    for one in scores.figures:
        for latent, estimate in one.estimates.items():
            control = one.controls.get(latent)
            found.setdefault(latent, []).append(Score(author, method, None, None, one.scorer, estimate, control))
    return found


@dataclass(frozen=True)
class TableRow:
    """What one scorer says of one method's explanations of a dictionary.

    Attributes:
        method, scorer: names.
        mean: over latents that have a figure, with a bootstrap interval over latents; None where none has.
        control: the same for the shuffled explanations.
        above: share of *all* latents that were to be explained whose explanation is above the controls.
        details: means of figures without an interval, such as "AUC".
        absent: latents without a figure, by reason; those that no explanation was found for included.
    """

    method: str
    scorer: str
    mean: Estimate | None
    control: Estimate | None
    above: Estimate | None
    details: Mapping[str, float]
    absent: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is absent is left out."""
        values: dict[str, Any] = {"method": self.method, "scorer": self.scorer}
        for name in ("mean", "control", "above"):
            if (estimate := getattr(self, name)) is not None:
                values[name] = estimate.to_dict()
        return values | {"details": dict(self.details), "absent": dict(self.absent)}


def table_row(method: str, scored: Scored, details: Mapping[str, Mapping[int, float]], latents: int) -> TableRow:
    """A scorer's figures as a row; `latents` were to be explained."""
    values = [estimate.value for estimate in scored.estimates.values()]
    controls = list(scored.controls.values())
    absent = Counter(scored.absent.values())
    if (silent := latents - len(scored.estimates) - len(scored.absent)) > 0:
        absent["no explanation"] = silent
    prefix = f"{scored.scorer} "
    means = {
        name.removeprefix(prefix): float(np.mean(list(of.values())))
        for name, of in details.items()
        if name.startswith(prefix) and of
    }
    return TableRow(
        method=method,
        scorer=scored.scorer,
        mean=bootstrap_mean(values) if values else None,
        control=bootstrap_mean(controls) if controls else None,
        above=wilson(len(above(scored)), latents) if latents else None,
        details=means,
        absent=dict(absent),
    )
