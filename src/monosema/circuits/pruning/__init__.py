"""Pruning for real: heads, neurons or layers that matter least are removed, and a smaller model is left."""

from __future__ import annotations

from monosema.circuits.pruning.curve import PrunedPoint, kept_by, parameters, pruned, pruning_curve, text_rows, verdict
from monosema.circuits.pruning.cutting import Kept, cut, masked
from monosema.circuits.pruning.importance import IMPORTANCES, Importance, Unit, importance_named, register_importance

__all__ = [
    "IMPORTANCES",
    "Importance",
    "Kept",
    "PrunedPoint",
    "Unit",
    "cut",
    "importance_named",
    "kept_by",
    "masked",
    "parameters",
    "pruned",
    "pruning_curve",
    "register_importance",
    "text_rows",
    "verdict",
]
