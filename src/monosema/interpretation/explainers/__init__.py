"""Explainers: each says what latents mean, from passages that no scorer sees."""

from __future__ import annotations

from monosema.interpretation.explainers.language_model import LanguageModelExplainer, LanguageModelExplainerConfig
from monosema.interpretation.explainers.logit_effect import LogitEffectExplainer
from monosema.interpretation.explainers.neuron2graph import Neuron2GraphConfig, Neuron2GraphExplainer
from monosema.interpretation.explainers.token_lookup import TokenLookupConfig, TokenLookupExplainer

__all__ = [
    "LanguageModelExplainer",
    "LanguageModelExplainerConfig",
    "LogitEffectExplainer",
    "Neuron2GraphConfig",
    "Neuron2GraphExplainer",
    "TokenLookupConfig",
    "TokenLookupExplainer",
]
