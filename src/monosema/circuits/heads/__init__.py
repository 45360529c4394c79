"""Heads: what each attention head looks at, what role it has, and what it causes."""

from __future__ import annotations

from monosema.circuits.heads.ablating import ablated, all_heads, component_outputs, layer_sets, means
from monosema.circuits.heads.context import ContextLearning, context_latents, context_learning
from monosema.circuits.heads.distinct import Distinct, distinct_roles
from monosema.circuits.heads.paths import effects_along
from monosema.circuits.heads.roles import (
    PER_ROLE,
    HeadRoles,
    HeadTexts,
    head_looks,
    head_roles,
    head_texts,
    score_heads,
)
from monosema.circuits.heads.scores import HEAD_SCORES, Attends, HeadScore, LayerReading, register_head_score
from monosema.circuits.heads.self_repair import SelfRepair, self_repair
from monosema.circuits.heads.texts import Repeated, repeated_tokens

__all__ = [
    "HEAD_SCORES",
    "PER_ROLE",
    "Attends",
    "ContextLearning",
    "Distinct",
    "HeadRoles",
    "HeadScore",
    "HeadTexts",
    "LayerReading",
    "Repeated",
    "SelfRepair",
    "ablated",
    "all_heads",
    "component_outputs",
    "context_latents",
    "context_learning",
    "distinct_roles",
    "effects_along",
    "head_looks",
    "head_roles",
    "head_texts",
    "layer_sets",
    "means",
    "register_head_score",
    "repeated_tokens",
    "score_heads",
    "self_repair",
]
