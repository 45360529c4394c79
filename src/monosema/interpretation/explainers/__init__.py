"""Explainers: each says what latents mean, from passages that no scorer sees."""

from __future__ import annotations

from monosema.interpretation.explainers.language_model import LanguageModelExplainer, LanguageModelExplainerConfig

__all__ = ["LanguageModelExplainer", "LanguageModelExplainerConfig"]
