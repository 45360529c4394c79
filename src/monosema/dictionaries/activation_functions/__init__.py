"""Activation functions of sparse coders: one small class each, in an open list (`register_activation`)."""

from __future__ import annotations

from monosema.dictionaries.activation_functions.activation import (
    ACTIVATIONS,
    Activated,
    Activation,
    Batch,
    activation_named,
    register_activation,
)
from monosema.dictionaries.activation_functions.auxiliary import AuxK
from monosema.dictionaries.activation_functions.batch_topk import BatchTopK
from monosema.dictionaries.activation_functions.gated import Gated
from monosema.dictionaries.activation_functions.jumprelu import JumpReLU
from monosema.dictionaries.activation_functions.p_anneal import PAnneal
from monosema.dictionaries.activation_functions.rectified import Rectified
from monosema.dictionaries.activation_functions.relu import ReLU
from monosema.dictionaries.activation_functions.tied_l1 import TiedL1
from monosema.dictionaries.activation_functions.topk import TopK

__all__ = [
    "ACTIVATIONS",
    "Activated",
    "Activation",
    "AuxK",
    "Batch",
    "BatchTopK",
    "Gated",
    "JumpReLU",
    "PAnneal",
    "ReLU",
    "Rectified",
    "TiedL1",
    "TopK",
    "activation_named",
    "register_activation",
]
