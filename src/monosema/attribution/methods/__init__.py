"""Methods that divide an answer among players: one signature, one file a family of formulas, an open list."""

from __future__ import annotations

from monosema.attribution.methods.gradients import Gradient, GradientInput, SmoothGrad
from monosema.attribution.methods.integrated import IntegratedGradients
from monosema.attribution.methods.method import METHODS, Method, Scores, attribute, methods_named, register_method
from monosema.attribution.methods.occlusion import Occlusion
from monosema.attribution.methods.shapley import KernelShap, Shapley

__all__ = [
    "METHODS",
    "Gradient",
    "GradientInput",
    "IntegratedGradients",
    "KernelShap",
    "Method",
    "Occlusion",
    "Scores",
    "Shapley",
    "SmoothGrad",
    "attribute",
    "methods_named",
    "register_method",
]
