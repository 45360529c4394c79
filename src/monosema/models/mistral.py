"""Mistral (Jiang et al. 2023, arXiv 2310.06825): Llama with a sliding window."""

from __future__ import annotations

from typing import Any

from monosema.models.config import TransformerConfig
from monosema.models.fields import ACTIVATIONS, Fields, rotary_config, same_attention
from monosema.models.llama import common_fields, layout, rope_values

__all__ = ["config", "layout"]


def config(values: dict[str, Any]) -> TransformerConfig:
    """Our configuration from config.json."""
    fields = Fields(values)
    common = common_fields(fields, kv_heads=8, context=131_072)
    rotary = rotary_config(fields, rope_values(fields), common["d_head"], 10_000.0, common["context"])
    result = TransformerConfig(
        **common,
        attention=same_attention(
            common["n_layers"],
            scale=common["d_head"] ** -0.5,
            rotary=rotary,
            window=fields.take_nullable("sliding_window", 4096),
        ),
        activation=fields.choose("hidden_act", "silu", ACTIVATIONS),
        norm_eps=fields.take("rms_norm_eps", 1e-6),
        tied=fields.take("tie_word_embeddings", False),
    )
    fields.finish()
    return result
