"""Lenses and direct logit attribution: one prediction, layer by layer and part by part."""

from __future__ import annotations

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
    "LensKind",
    "LensReading",
    "LogitParts",
    "Step",
    "layer_name",
    "load_lens",
    "logit_parts",
    "prediction_steps",
    "read_lens",
    "reads_logit",
    "save_lens",
    "stream_sites",
]
