"""Evaluations: what a dictionary is worth, in metrics with intervals beside their controls."""

from __future__ import annotations

from monosema.evaluation.controls import CONTROL_ROWS, controls_at, fit_controls
from monosema.evaluation.crosscoders import evaluate_crosscoder
from monosema.evaluation.evaluate import EvaluationConfig, evaluate, evaluate_vectors
from monosema.evaluation.latent_scaling import LatentScaling, latent_scaling
from monosema.evaluation.model_difference import ModelDifference, ModelLatent, model_difference
from monosema.evaluation.result import DensityHistogram, Evaluation, EvaluationRow
from monosema.evaluation.side_by_side import UNTOUCHED, Moved, Row, SideBySide, Version, side_by_side
from monosema.evaluation.splice_test import SPLICED, splice_test

__all__ = [
    "CONTROL_ROWS",
    "SPLICED",
    "UNTOUCHED",
    "DensityHistogram",
    "Evaluation",
    "EvaluationConfig",
    "EvaluationRow",
    "LatentScaling",
    "ModelDifference",
    "ModelLatent",
    "Moved",
    "Row",
    "SideBySide",
    "Version",
    "controls_at",
    "evaluate",
    "evaluate_crosscoder",
    "evaluate_vectors",
    "fit_controls",
    "latent_scaling",
    "model_difference",
    "side_by_side",
    "splice_test",
]
