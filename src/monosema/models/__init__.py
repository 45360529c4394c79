"""Language models with sites: one decoder for the families we compute ourselves, an adapter for all others."""

from __future__ import annotations

from monosema.models.adapter import AdaptedModel
from monosema.models.cache import KVCache
from monosema.models.chat import ChatTemplate
from monosema.models.config import AttentionConfig, RotaryConfig, TransformerConfig
from monosema.models.directions import weight_directions
from monosema.models.facts import ModelFacts, model_facts
from monosema.models.generation import Generation, GenerationConfig
from monosema.models.loading import Family, load_model, model_folder, register_family
from monosema.models.pair import ModelPair, owner
from monosema.models.protocol import LanguageModel, require_logits
from monosema.models.random_model import byte_tokenizer, random_model
from monosema.models.taps import Captured
from monosema.models.tokenizer import Tokenizer
from monosema.models.transformer import Transformer
from monosema.models.vectors import vector_width

__all__ = [
    "AdaptedModel",
    "AttentionConfig",
    "Captured",
    "ChatTemplate",
    "Family",
    "Generation",
    "GenerationConfig",
    "KVCache",
    "LanguageModel",
    "ModelFacts",
    "ModelPair",
    "RotaryConfig",
    "Tokenizer",
    "Transformer",
    "TransformerConfig",
    "byte_tokenizer",
    "load_model",
    "model_facts",
    "model_folder",
    "owner",
    "random_model",
    "register_family",
    "require_logits",
    "vector_width",
    "weight_directions",
]
