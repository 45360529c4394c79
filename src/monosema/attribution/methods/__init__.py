"""Methods that divide an answer among players: one signature, one file a family of formulas, an open list.

They are imported, and so listed and run, in the order of their families: black box, gradient, propagation, attention.
"""

from __future__ import annotations

# isort: off
from monosema.attribution.methods.method import METHODS, Method, Scores, attribute, methods_named, register_method
from monosema.attribution.methods.occlusion import Occlusion
from monosema.attribution.methods.shapley import KernelShap, Shapley
from monosema.attribution.methods.lime import Lime
from monosema.attribution.methods.flips import Flips
from monosema.attribution.methods.gradients import Gradient, GradientInput, SmoothGrad
from monosema.attribution.methods.integrated import IntegratedGradients
from monosema.attribution.methods.deep_lift import DeepLift
from monosema.attribution.methods.grad_cam import GradCam
from monosema.attribution.methods.relevance import Relevance
from monosema.attribution.methods.attention import Flow, RawAttention, Rollout
from monosema.attribution.methods.value_zeroing import ValueZeroing

# isort: on

__all__ = [
    "METHODS",
    "DeepLift",
    "Flips",
    "Flow",
    "GradCam",
    "Gradient",
    "GradientInput",
    "IntegratedGradients",
    "KernelShap",
    "Lime",
    "Method",
    "Occlusion",
    "RawAttention",
    "Relevance",
    "Rollout",
    "Scores",
    "Shapley",
    "SmoothGrad",
    "ValueZeroing",
    "attribute",
    "methods_named",
    "register_method",
]
