"""Lenses and direct logit attribution: one prediction, layer by layer and part by part."""

from __future__ import annotations

from monosema.attribution.lenses.fitting import LensConfig, fit_jacobian, fit_tuned, mean_jacobians
from monosema.attribution.lenses.judging import LensFigures, judge_lenses
from monosema.attribution.lenses.lens import (
    Lens,
    LensKind,
    layer_name,
    load_lens,
    reads_logit,
    save_lens,
    stream_sites,
)
from monosema.attribution.lenses.parts import By, LogitParts, logit_parts
from monosema.attribution.lenses.reading import LensReading, read_lens
from monosema.attribution.lenses.steps import Step, prediction_steps

__all__ = [
    "By",
    "Lens",
    "LensConfig",
    "LensFigures",
    "LensKind",
    "LensReading",
    "LogitParts",
    "Step",
    "fit_jacobian",
    "fit_tuned",
    "judge_lenses",
    "layer_name",
    "load_lens",
    "logit_parts",
    "mean_jacobians",
    "prediction_steps",
    "read_lens",
    "reads_logit",
    "save_lens",
    "stream_sites",
]
