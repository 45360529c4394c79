"""All scores that need nothing but a reader, for many latents, with their controls; and what they come to.

Controls of every figure: *shuffled*, the same figure for another latent's explanation, for each latent; *empty*, an
explanation that says that nothing ever activates; and *random latents*, the figures that the same explainer earns on
latents of random directions. An explanation counts as above the controls where the low end of its interval is above
both what chance gives (0 for a correlation, ½ for a balanced accuracy) and the figure of the shuffled explanation; as
above random latents where it is above their mean figure, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from monosema.atlas import Score
from monosema.core import Config, Estimate, bootstrap_mean, wilson
from monosema.interpretation.protocol import Explained, Reader
from monosema.interpretation.samples import Samples
from monosema.interpretation.scorers.classification import DETAILS, Classified
from monosema.interpretation.scorers.detection import DetectionConfig, score_detection
from monosema.interpretation.scorers.fuzzing import FuzzingConfig, score_fuzzing
from monosema.interpretation.scorers.scored import Scored, shuffled
from monosema.interpretation.scorers.simulation import SimulationConfig, score_simulation

CHANCE = {
    "simulation": 0.0,
    "simulation (top)": 0.0,
    "simulation (random)": 0.0,
    "detection": 0.5,
    "fuzzing": 0.5,
}
"""What an explanation without content gets, by scorer."""
CONTROLS_RULE = (
    "An explanation is above the controls where the low end of its 95 % interval is above chance (0 for a correlation, "
    "½ for a balanced accuracy) and above the figure of another feature's explanation on the same feature."
)
RANDOM_RULE = (
    "Above random means: above the controls, and above the mean of latents of random directions, explained and scored "
    "alike."
)


class ScoringConfig(Config):
    """How explanations are scored."""

    simulation: SimulationConfig = SimulationConfig()
    detection: DetectionConfig = DetectionConfig()
    fuzzing: FuzzingConfig = FuzzingConfig()
    seed: int = Field(0, ge=0)
    """Decides which explanation the shuffled control gives to which latent."""
    random_latents: int = Field(100, ge=0)
    """Latents of random directions that are explained and scored beside a run's own, as a control; 0 for none."""
    random_tokens: int = Field(60_000, ge=1)
    """Tokens that they are described on, and as many of held-out text, at most, that they are scored on."""


@dataclass(frozen=True)
class Scores:
    """Figures of the explanations of one method.

    Attributes:
        figures: of each scorer, with controls.
        details: further figures, by name ("detection AUC", …) and latent.
    """

    figures: tuple[Scored, ...]
    details: Mapping[str, Mapping[int, Estimate]]


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
) -> tuple[list[Scored], dict[str, Mapping[int, Estimate]]]:
    detection = score_detection(reader, explained, samples, config.detection)
    fuzzing = score_fuzzing(reader, explained, samples, config.fuzzing)
    figures = [*score_simulation(reader, explained, samples, config.simulation)]
    details: dict[str, Mapping[int, Estimate]] = {}
    named: tuple[tuple[str, Classified], ...] = (("detection", detection), ("fuzzing", fuzzing))
    for name, one in named:
        figures.append(Scored(name, one.accuracy, {}, one.absent))
        details |= {f"{name} {detail}": one.details[detail] for detail in DETAILS}
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


def above(scored: Scored, least: float | None = None) -> list[int]:
    """Latents whose figure is above the controls, and above `least` where it is given."""
    floor = max(CHANCE[scored.scorer], -1.0 if least is None else least)
    bar = {latent: max(floor, scored.controls.get(latent, floor)) for latent in scored.estimates}
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
        random: mean over latents of random directions, with its interval; None where none were scored.
        above_random: share of all latents whose explanation is above the controls and above `random`.
        details: means of further figures, such as "AUC".
        absent: latents without a figure, by reason; those that no explanation was found for included.
    """

    method: str
    scorer: str
    mean: Estimate | None
    control: Estimate | None
    above: Estimate | None
    random: Estimate | None
    above_random: Estimate | None
    details: Mapping[str, Estimate]
    absent: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is absent is left out."""
        values: dict[str, Any] = {"method": self.method, "scorer": self.scorer}
        for name in ("mean", "control", "above", "random", "above_random"):
            if (estimate := getattr(self, name)) is not None:
                values[name] = estimate.to_dict()
        details = {name: estimate.to_dict() for name, estimate in self.details.items()}
        return values | {"details": details, "absent": dict(self.absent)}


def table_row(
    method: str,
    scored: Scored,
    details: Mapping[str, Mapping[int, Estimate]],
    latents: int,
    random: Estimate | None = None,
) -> TableRow:
    """A scorer's figures as a row.

    Args:
        method: how the explanations were found.
        scored, details: their figures.
        latents: how many were to be explained.
        random: what latents of random directions earn on the mean.
    """
    values = [estimate.value for estimate in scored.estimates.values()]
    controls = list(scored.controls.values())
    absent = Counter(scored.absent.values())
    if (silent := latents - len(scored.estimates) - len(scored.absent)) > 0:
        absent["no explanation"] = silent
    prefix = f"{scored.scorer} "
    means = {
        name.removeprefix(prefix): bootstrap_mean([estimate.value for estimate in of.values()])
        for name, of in details.items()
        if name.startswith(prefix) and of
    }
    return TableRow(
        method=method,
        scorer=scored.scorer,
        mean=bootstrap_mean(values) if values else None,
        control=bootstrap_mean(controls) if controls else None,
        above=wilson(len(above(scored)), latents) if latents else None,
        random=random,
        above_random=wilson(len(above(scored, random.value)), latents) if latents and random is not None else None,
        details=means,
        absent=dict(absent),
    )
