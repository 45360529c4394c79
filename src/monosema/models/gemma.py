"""Gemma (arXiv 2403.08295), Gemma 2 (arXiv 2408.00118) and the text models of Gemma 3 (arXiv 2503.19786).

All scale the embedding by √d_model. From the second on, what attention and MLP give is normalised before it is added,
and layers alternate between a sliding window and full attention; the second caps scores and logits, the third
normalises queries and keys and has a rotary base of its own where attention slides.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from monosema.models import llama
from monosema.models.config import AttentionConfig, TransformerConfig
from monosema.models.fields import ACTIVATIONS, Fields, rotary_config, same_attention
from monosema.models.llama import common_fields, layer_kinds, rope_values
from monosema.models.weights import Layout


def text_config(values: dict[str, Any]) -> TransformerConfig:
    """Our configuration of the text model within a multimodal Gemma 3, whose config.json leaves out defaults."""
    inside = {"vocab_size": 262_208, "num_attention_heads": 8, **values.get("text_config", {})}
    of_all = ("tie_word_embeddings", "quantization_config")
    inside |= {name: values[name] for name in of_all if name in values}
    return config({**inside, "model_type": "gemma3_text"})


def config(values: dict[str, Any]) -> TransformerConfig:
    """Our configuration from config.json."""
    fields = Fields(values)
    first, second, third = (fields.family == name for name in ("gemma", "gemma2", "gemma3_text"))
    context = 131_072 if third else 8192
    common = common_fields(fields, kv_heads=16 if first else 4, d_head=256, context=context)
    fields.require("use_bidirectional_attention", False)
    bias = fields.take("attention_bias", False)
    result = TransformerConfig(
        **{**common, "norm": "rms_offset"},
        attention=_plain(fields, common) if first else _attention(fields, third, common),
        activation=_activation(fields, first),
        norm_eps=fields.take("rms_norm_eps", 1e-6),
        norm_outputs=not first,
        norm_queries_and_keys=third,
        qkv_bias=bias,
        attention_out_bias=bias,
        tied=fields.take("tie_word_embeddings", True),
        embed_scale=common["d_model"] ** 0.5,
        score_softcap=fields.take_nullable("attn_logit_softcapping", 50.0 if second else None),
        logit_softcap=fields.take_nullable("final_logit_softcapping", 30.0 if second else None),
    )
    fields.finish()
    return result


def layout(config: TransformerConfig) -> Layout:
    """Return the layout; of a multimodal model's file, only its text model is read."""
    return dataclasses.replace(
        llama.layout(config),
        instead=("", "language_model.model.", "model.language_model."),
        aliases={"lm_head.weight": "language_model.lm_head.weight"},
        others=tuple(head + part for head in ("", "model.") for part in ("vision_tower.", "multi_modal_projector.")),
    )


def _activation(fields: Fields, first: bool) -> Any:
    """The nonlinearity, of which the files have two names; the first Gemma's call the approximate gelu plain "gelu"."""
    fields.take("hidden_activation" if first else "hidden_act", None)
    if not first:
        return fields.choose("hidden_activation", "gelu_pytorch_tanh", ACTIVATIONS)
    return fields.choose("hidden_act", "gelu_pytorch_tanh", {**ACTIVATIONS, "gelu": "gelu_tanh"})


def _plain(fields: Fields, common: dict[str, Any]) -> tuple[AttentionConfig, ...]:
    rotary = rotary_config(fields, rope_values(fields), common["d_head"], 10_000.0, common["context"])
    return same_attention(common["n_layers"], scale=common["d_head"] ** -0.5, rotary=rotary)


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
