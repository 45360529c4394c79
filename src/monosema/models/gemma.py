"""Gemma 2 (arXiv 2408.00118) and the text models of Gemma 3 (arXiv 2503.19786).

Both normalise what attention and MLP give before it is added, scale the embedding by √d_model, and alternate between
a sliding window and full attention; the second caps scores and logits, the third normalises queries and keys and has
a rotary base of its own where attention slides.
"""

from __future__ import annotations

from typing import Any

from monosema.models.config import AttentionConfig, TransformerConfig
from monosema.models.fields import ACTIVATIONS, Fields, rotary_config
from monosema.models.llama import common_fields, layer_kinds, layout, rope_values

__all__ = ["UNUSED_TOKENS", "config", "layout"]

UNUSED_TOKENS = frozenset({"<image_soft_token>"})


def config(values: dict[str, Any]) -> TransformerConfig:
    """Our configuration from config.json."""
    fields = Fields(values)
    third = fields.family == "gemma3_text"
    context = 131_072 if third else 8192
    common = common_fields(fields, kv_heads=4, d_head=256, context=context)
    fields.require("use_bidirectional_attention", False)
    bias = fields.take("attention_bias", False)
    result = TransformerConfig(
        **{**common, "norm": "rms_offset"},
        attention=_attention(fields, third, common),
        activation=fields.choose("hidden_activation", "gelu_pytorch_tanh", ACTIVATIONS),
        norm_eps=fields.take("rms_norm_eps", 1e-6),
        norm_outputs=True,
        norm_queries_and_keys=third,
        qkv_bias=bias,
        attention_out_bias=bias,
        tied=fields.take("tie_word_embeddings", True),
        embed_scale=common["d_model"] ** 0.5,
        score_softcap=fields.take_nullable("attn_logit_softcapping", None if third else 50.0),
        logit_softcap=fields.take_nullable("final_logit_softcapping", None if third else 30.0),
    )
    fields.finish()
    return result


def _attention(fields: Fields, third: bool, common: dict[str, Any]) -> tuple[AttentionConfig, ...]:
    n_layers, d_head, context = common["n_layers"], common["d_head"], common["context"]
    period = fields.take("sliding_window_pattern", fields.take("_sliding_window_pattern", 6)) if third else 2
    usual = ["sliding_attention" if (i + 1) % period else "full_attention" for i in range(n_layers)]
    kinds = layer_kinds(fields, n_layers, usual)
    scale, window = fields.take("query_pre_attn_scalar", 256) ** -0.5, fields.take("sliding_window", 4096)
    values = rope_values(fields)
    if third:
        local_values = values.pop("sliding_attention", {})
        local_base = fields.take("rope_local_base_freq", 10_000.0)
        local = rotary_config(fields, local_values, d_head, local_base, context)
        full = rotary_config(fields, values.pop("full_attention", {}) | values, d_head, 1_000_000.0, context)
    else:
        local = full = rotary_config(fields, values, d_head, 10_000.0, context)
    sliding = AttentionConfig(scale=scale, window=window, rotary=local)
    plain = AttentionConfig(scale=scale, rotary=full)
    return tuple(sliding if kind == "sliding_attention" else plain for kind in kinds)
