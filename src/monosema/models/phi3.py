"""Phi-3 and Phi-4 (arXiv 2404.14219): Llama with its matrices stored fused, and longrope within the trained context."""

from __future__ import annotations

import dataclasses
from typing import Any

from monosema.models import llama
from monosema.models.config import TransformerConfig
from monosema.models.fields import ACTIVATIONS, Fields, rotary_config, same_attention
from monosema.models.weights import Layout, stored


def config(values: dict[str, Any]) -> TransformerConfig:
    """Our configuration from config.json; where positions are longrope's, the context is the trained one."""
    fields = Fields(values)
    common = llama.common_fields(fields, context=4096)
    context, trained = common["context"], fields.take("original_max_position_embeddings", 4096)
    rope = {"partial_rotary_factor": fields.take("partial_rotary_factor", 1.0)} | llama.rope_values(fields)
    rotary = rotary_config(fields, rope, common["d_head"], 10_000.0, context, trained)
    if rotary.scaling == "longrope":
        common["context"] = min(context, trained)
    window = fields.take("sliding_window", None)
    result = TransformerConfig(
        **common,
        attention=same_attention(common["n_layers"], scale=common["d_head"] ** -0.5, rotary=rotary, window=window),
        activation=fields.choose("hidden_act", "silu", ACTIVATIONS),
        norm_eps=fields.take("rms_norm_eps", 1e-5),
        tied=fields.take("tie_word_embeddings", False),
    )
    fields.finish()
    return result


def layout(config: TransformerConfig) -> Layout:
    """Return the layout: queries, keys and values lie in one matrix, gate and input of the MLP in another."""
    usual = llama.layout(config)
    fused = {}
    for layer in range(config.n_layers):
        fused[f"blocks.{layer}.attn.qkv.weight"] = stored(f"model.layers.{layer}.self_attn.qkv_proj.weight")
        fused[f"blocks.{layer}.mlp.inner.weight"] = stored(f"model.layers.{layer}.mlp.gate_up_proj.weight")
    return dataclasses.replace(usual, sources=usual.sources | fused)
