"""Probes: what can be read off activations, how surely, and what reading it off proves."""

from __future__ import annotations

from monosema.probing.erasure import Eraser, leace
from monosema.probing.examples import Examples, file_examples, open_examples, task_examples
from monosema.probing.features import Words, all_activations, last_activations
from monosema.probing.judge import Judged, calibration_error, judge, judge_pooled, validation
from monosema.probing.probes import LATENT_PROBES, PROBES, Fitted, Probe, register_probe
from monosema.probing.tcav import Tcav, tcav
from monosema.probing.truthful import HeadDirection, Intervention, intervene_at_inference, truthful_heads

__all__ = [
    "LATENT_PROBES",
    "PROBES",
    "Eraser",
    "Examples",
    "Fitted",
    "HeadDirection",
    "Intervention",
    "Judged",
    "Probe",
    "Tcav",
    "Words",
    "all_activations",
    "calibration_error",
    "file_examples",
    "intervene_at_inference",
    "judge",
    "judge_pooled",
    "last_activations",
    "leace",
    "open_examples",
    "register_probe",
    "task_examples",
    "tcav",
    "truthful_heads",
    "validation",
]
