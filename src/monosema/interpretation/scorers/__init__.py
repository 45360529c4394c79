"""Scorers: how well explanations predict latents, on passages that no explainer has seen."""

from __future__ import annotations

from monosema.interpretation.scorers.registry import SCORERS, ScoringConfig, make_scorers, register_scorer

__all__ = ["SCORERS", "ScoringConfig", "make_scorers", "register_scorer"]
