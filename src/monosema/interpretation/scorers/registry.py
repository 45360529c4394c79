"""The open list of scorers, and the settings of a recipe for those that score rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import Field, field_validator

from monosema.core import Config, ConfigError, nearest
from monosema.interpretation.scorers.classification import Detection, DetectionConfig, Fuzzing, FuzzingConfig
from monosema.interpretation.scorers.embedding import Embedding
from monosema.interpretation.scorers.intervention import Intervention
from monosema.interpretation.scorers.intruder import Intruder
from monosema.interpretation.scorers.simulation import Simulation, SimulationConfig
from monosema.interpretation.scorers.surprisal import Surprisal
from monosema.interpretation.scoring import Scorer

_KINDS: tuple[type[Any], ...] = (Simulation, Detection, Fuzzing, Intervention, Intruder, Surprisal, Embedding)
SCORERS: dict[str, Callable[..., Scorer]] = {kind.info.name: kind for kind in _KINDS}
"""Classes of scorers by name."""


def register_scorer(kind: type[Any]) -> None:
    """Add a class of scorers (see `Scorer`); one of the same name is replaced."""
    SCORERS[kind.info.name] = kind


class ScoringConfig(Config):
    """Scoring of rules, in a run."""

    scorers: tuple[str, ...] = ("simulation", "detection", "fuzzing")
    """Scorers of rules; those that need a language model can't be among them."""
    simulation: SimulationConfig = SimulationConfig()
    detection: DetectionConfig = DetectionConfig()
    fuzzing: FuzzingConfig = FuzzingConfig()
    seed: int = Field(0, ge=0)
    """Decides which explanation the shuffled control gives to which latent."""
    random_latents: int = Field(100, ge=0)
    """Latents of random directions that are explained and scored beside a run's own, as a control; 0 for none."""
    random_tokens: int = Field(60_000, ge=1)
    """Tokens that they are described on, and most tokens of held-out text that they are scored on."""

    @field_validator("scorers")
    @classmethod
    def _score_rules(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            scorers = make_scorers(names)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if asking := [scorer.info.name for scorer in scorers if not scorer.info.scores_rules]:
            raise ValueError(f"{' and '.join(asking)} can't score rules; score with `monosema score --scorers`")
        return names

    def make(self) -> list[Scorer]:
        """Make the scorers, with their settings."""
        return make_scorers(self.scorers, self)


def make_scorers(names: Iterable[str], settings: ScoringConfig | None = None) -> list[Scorer]:
    """Make scorers by name.

    Args:
        settings: gives settings to scorers that it has a field for.

    Raises:
        ConfigError: no such scorer.
    """
    made = []
    for name in names:
        if name not in SCORERS:
            raise ConfigError(
                f"There is no scorer {name!r}.{nearest(name, SCORERS)} Use some of: {', '.join(SCORERS)}."
            )
        own = getattr(settings, name, None)
        made.append(SCORERS[name](own) if isinstance(own, Config) else SCORERS[name]())
    return made
