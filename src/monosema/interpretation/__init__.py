"""Interpretation: what features mean, said by people, by programs, or by language models."""

from __future__ import annotations

from monosema.interpretation.protocol import Explainer

__all__ = ["Explainer"]
