"""OLMo 2 (arXiv 2501.00656): attention and MLP read the stream as it is, and what they give is normalised."""

from __future__ import annotations

from typing import Any

from monosema.models.config import TransformerConfig
from monosema.models.fields import ACTIVATIONS, Fields, rotary_config, same_attention
from monosema.models.llama import common_fields, layout, rope_values

__all__ = ["config", "layout"]


def config(values: dict[str, Any]) -> TransformerConfig:
    """Our configuration from config.json."""
    fields = Fields(values)
    common = common_fields(fields)
    d_head = common["d_head"]
    rotary = rotary_config(fields, rope_values(fields), d_head, 10_000.0, common["context"])
    bias = fields.take("attention_bias", False)
    result = TransformerConfig(
        **common,
        attention=same_attention(common["n_layers"], scale=d_head**-0.5, rotary=rotary),
        activation=fields.choose("hidden_act", "silu", ACTIVATIONS),
        norm_eps=fields.take("rms_norm_eps", 1e-5),
        norm_inputs=False,
        norm_outputs=True,
        norm_queries_and_keys=True,
        norm_across_heads=True,
        qkv_bias=bias,
        attention_out_bias=bias,
        tied=fields.take("tie_word_embeddings", False),
    )
    fields.finish()
    return result
