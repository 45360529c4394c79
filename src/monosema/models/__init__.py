"""Language models with sites: one decoder for the families we compute ourselves, an adapter for all others."""

from __future__ import annotations

from monosema.models.adapter import AdaptedModel
from monosema.models.batch import Batch
from monosema.models.chat import ChatTemplate
from monosema.models.config import AttentionConfig, RotaryConfig, TransformerConfig
from monosema.models.context import ForwardContext, KVCache, Role
from monosema.models.contributions import Added, each_contribution
from monosema.models.directions import weight_directions
from monosema.models.facts import ModelFacts, model_facts
from monosema.models.forking import Fork, can_fork, unembed_of
from monosema.models.generation import Prompt, TextGeneration, read_prompt
from monosema.models.gpt_family import gpt_family
from monosema.models.hooks import Action, BySite, Captured
from monosema.models.loading import Family, load_model, model_folder, register_family
from monosema.models.pair import ModelPair, resolve_site
from monosema.models.protocol import LanguageModel, require_logits, vector_width
from monosema.models.random_model import byte_tokenizer, random_model
from monosema.models.row import Generation, GenerationConfig, Piece, ReadPrompt, Row
from monosema.models.saving import save_model
from monosema.models.shown_tokens import ShownToken, quoted, shown_text, shown_tokens, visible
from monosema.models.tokenizer import Tokenizer
from monosema.models.transformer import Transformer, require_decoder

__all__ = [
    "Action",
    "AdaptedModel",
    "Added",
    "AttentionConfig",
    "Batch",
    "BySite",
    "Captured",
    "ChatTemplate",
    "Family",
    "Fork",
    "ForwardContext",
    "Generation",
    "GenerationConfig",
    "KVCache",
    "LanguageModel",
    "ModelFacts",
    "ModelPair",
    "Piece",
    "Prompt",
    "ReadPrompt",
    "Role",
    "RotaryConfig",
    "Row",
    "ShownToken",
    "TextGeneration",
    "Tokenizer",
    "Transformer",
    "TransformerConfig",
    "byte_tokenizer",
    "can_fork",
    "each_contribution",
    "gpt_family",
    "load_model",
    "model_facts",
    "model_folder",
    "quoted",
    "random_model",
    "read_prompt",
    "register_family",
    "require_decoder",
    "require_logits",
    "resolve_site",
    "save_model",
    "shown_text",
    "shown_tokens",
    "unembed_of",
    "vector_width",
    "visible",
    "weight_directions",
]
