"""Attention: where heads look on a text, what their weights make them do, and what positions encode."""

from __future__ import annotations

from monosema.attribution.attention.patterns import AttentionReading, read_attention
from monosema.attribution.attention.positions import LearnedPositions, RotaryPhases, learned_positions, rotary_phases
from monosema.attribution.attention.weights import HeadCircuits, head_circuits

__all__ = [
    "AttentionReading",
    "HeadCircuits",
    "LearnedPositions",
    "RotaryPhases",
    "head_circuits",
    "learned_positions",
    "read_attention",
    "rotary_phases",
]
