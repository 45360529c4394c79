"""Qwen 2 (arXiv 2407.10671) and Qwen 3 (arXiv 2505.09388): Llama with biases, or with normalised queries and keys."""

from __future__ import annotations

from typing import Any

from monosema.models.config import AttentionConfig, TransformerConfig
from monosema.models.fields import ACTIVATIONS, Fields, rotary_config
from monosema.models.llama import common_fields, layer_kinds, layout, rope_values

__all__ = ["config", "layout"]


def config(values: dict[str, Any]) -> TransformerConfig:
    """Our configuration from config.json."""
    fields = Fields(values)
    third = fields.family == "qwen3"
    common = common_fields(fields, kv_heads=32, d_head=128 if third else None, context=32768)
    d_head, n_layers = common["d_head"], common["n_layers"]
    rotary = rotary_config(fields, rope_values(fields), d_head, 10_000.0, common["context"])
    window, first = fields.take_nullable("sliding_window", 4096), fields.take("max_window_layers", 28)
    window = window if fields.take("use_sliding_window", False) else None
    usual = ["full_attention" if window is None or i < first else "sliding_attention" for i in range(n_layers)]
    windows = [window if kind == "sliding_attention" else None for kind in layer_kinds(fields, n_layers, usual)]
    bias = fields.take("attention_bias", False) if third else True
    result = TransformerConfig(
        **common,
        attention=tuple(AttentionConfig(scale=d_head**-0.5, rotary=rotary, window=window) for window in windows),
        activation=fields.choose("hidden_act", "silu", ACTIVATIONS),
        norm_eps=fields.take("rms_norm_eps", 1e-6),
        norm_queries_and_keys=third,
        qkv_bias=bias,
        attention_out_bias=bias and third,
        tied=fields.take("tie_word_embeddings", False),
    )
    fields.finish()
    return result
