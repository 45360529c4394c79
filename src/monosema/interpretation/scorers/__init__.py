"""Scorers: each says how well explanations tell what latents do, on passages that no explainer has seen."""

from __future__ import annotations

from monosema.interpretation.scorers.embedding import EmbeddingConfig, score_embedding
from monosema.interpretation.scorers.intervention import InterventionConfig, score_intervention, write_continuations
from monosema.interpretation.scorers.intruder import IntruderConfig, score_intruder
from monosema.interpretation.scorers.scored import Scored
from monosema.interpretation.scorers.surprisal import SurprisalConfig, score_surprisal

__all__ = [
    "EmbeddingConfig",
    "InterventionConfig",
    "IntruderConfig",
    "Scored",
    "SurprisalConfig",
    "score_embedding",
    "score_intervention",
    "score_intruder",
    "score_surprisal",
    "write_continuations",
]
