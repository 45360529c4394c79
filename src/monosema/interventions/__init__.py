"""Interventions: what is done to activations, with gradients; nothing else puts a reconstruction into a model."""

from __future__ import annotations

from monosema.interventions.actions import (
    clamp,
    intervene,
    mean,
    noise,
    patch,
    project_out,
    resample,
    side_by_side,
    within,
    zero,
)
from monosema.interventions.freezing import frozen
from monosema.interventions.parts import WHOLE, Part
from monosema.interventions.splice import TEXT, Spliced, put_rows, splice

__all__ = [
    "TEXT",
    "WHOLE",
    "Part",
    "Spliced",
    "clamp",
    "frozen",
    "intervene",
    "mean",
    "noise",
    "patch",
    "project_out",
    "put_rows",
    "resample",
    "side_by_side",
    "splice",
    "within",
    "zero",
]
