"""Evaluations: what a dictionary is worth, in metrics with intervals beside their controls."""

from __future__ import annotations

from monosema.evaluation.controls import fit_controls
from monosema.evaluation.crosscoders import evaluate_crosscoder
from monosema.evaluation.evaluate import EvaluationConfig, evaluate, evaluate_vectors
from monosema.evaluation.latent_scaling import LatentScaling, latent_scaling
from monosema.evaluation.model_difference import ModelDifference, ModelLatent, model_difference
from monosema.evaluation.result import DensityHistogram, Evaluation, EvaluationRow

__all__ = [
    "DensityHistogram",
    "Evaluation",
    "EvaluationConfig",
    "EvaluationRow",
    "LatentScaling",
    "ModelDifference",
    "ModelLatent",
    "evaluate",
    "evaluate_crosscoder",
    "evaluate_vectors",
    "fit_controls",
    "latent_scaling",
    "model_difference",
]
