"""Scorers: each says how well explanations tell what latents do, on passages that no explainer has seen."""

from __future__ import annotations

from monosema.interpretation.scorers.detection import DetectionConfig, score_detection
from monosema.interpretation.scorers.embedding import score_embedding
from monosema.interpretation.scorers.fuzzing import FuzzingConfig, score_fuzzing
from monosema.interpretation.scorers.intervention import InterventionConfig, score_intervention, write_continuations
from monosema.interpretation.scorers.intruder import IntruderConfig, score_intruder
from monosema.interpretation.scorers.scored import Scored
from monosema.interpretation.scorers.simulation import SimulationConfig, score_simulation
from monosema.interpretation.scorers.surprisal import score_surprisal
from monosema.interpretation.scorers.texts import Texts, TextScoringConfig

__all__ = [
    "DetectionConfig",
    "FuzzingConfig",
    "InterventionConfig",
    "IntruderConfig",
    "Scored",
    "SimulationConfig",
    "TextScoringConfig",
    "Texts",
    "score_detection",
    "score_embedding",
    "score_fuzzing",
    "score_intervention",
    "score_intruder",
    "score_simulation",
    "score_surprisal",
    "write_continuations",
]
