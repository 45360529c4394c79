"""SmolLM3: Llama with layers that turn no queries and keys (Yang et al. 2025, arXiv 2501.18795)."""

from __future__ import annotations

from typing import Any

from monosema.models.config import AttentionConfig, TransformerConfig
from monosema.models.fields import ACTIVATIONS, Fields, rotary_config
from monosema.models.llama import common_fields, layer_kinds, layout, rope_values

__all__ = ["config", "layout"]


def config(values: dict[str, Any]) -> TransformerConfig:
    """Our configuration from config.json."""
    fields = Fields(values)
    common = common_fields(fields, kv_heads=4, context=32_768)
    bias = fields.take("attention_bias", False)
    result = TransformerConfig(
        **common,
        attention=_attention(fields, common),
        activation=fields.choose("hidden_act", "silu", ACTIVATIONS),
        norm_eps=fields.take("rms_norm_eps", 1e-6),
        qkv_bias=bias,
        attention_out_bias=bias,
        mlp_bias=fields.take("mlp_bias", False),
        tied=fields.take("tie_word_embeddings", True),
    )
    fields.finish()
    return result


def _attention(fields: Fields, common: dict[str, Any]) -> tuple[AttentionConfig, ...]:
    n_layers, d_head = common["n_layers"], common["d_head"]
    rotary = rotary_config(fields, rope_values(fields), d_head, 2_000_000.0, common["context"])
    period = fields.take("no_rope_layer_interval", 4)
    turned = fields.take("no_rope_layers", [int((i + 1) % period != 0) for i in range(n_layers)])
    if len(turned) < n_layers:
        raise fields.unsupported("no_rope_layers", turned, f"one value for each of the {n_layers} layers")
    fields.take("max_window_layers", None)  # the files have it, and nobody reads it
    window = fields.take("sliding_window", None)
    window = window if fields.take("use_sliding_window", False) else None
    usual = ["full_attention" if window is None or turns else "sliding_attention" for turns in turned[:n_layers]]
    return tuple(
        AttentionConfig(
            scale=d_head**-0.5,
            rotary=rotary if turns else None,
            window=window if kind == "sliding_attention" else None,
        )
        for kind, turns in zip(layer_kinds(fields, n_layers, usual), turned, strict=False)
    )
