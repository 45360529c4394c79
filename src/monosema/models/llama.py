"""Llama 1 to 3 (arXiv 2407.21783), and the layout of weights that most other families share with it."""

from __future__ import annotations

from typing import Any

from monosema.models.config import TransformerConfig
from monosema.models.fields import ACTIVATIONS, Fields, rotary_config, same_attention
from monosema.models.weights import Layout, concatenated, stored


def config(values: dict[str, Any]) -> TransformerConfig:
    """Our configuration from config.json."""
    fields = Fields(values)
    common = common_fields(fields)
    d_head, context = common["d_head"], common["context"]
    rotary = rotary_config(fields, rope_values(fields), d_head, 10_000.0, context)
    bias = fields.take("attention_bias", False)
    result = TransformerConfig(
        **common,
        attention=same_attention(common["n_layers"], scale=d_head**-0.5, rotary=rotary),
        activation=fields.choose("hidden_act", "silu", ACTIVATIONS),
        norm_eps=fields.take("rms_norm_eps", 1e-6),
        qkv_bias=bias,
        attention_out_bias=bias,
        mlp_bias=fields.take("mlp_bias", False),
        tied=fields.take("tie_word_embeddings", False),
    )
    fields.finish()
    return result


def common_fields(
    fields: Fields, kv_heads: int | None = None, d_head: int | None = None, context: int = 2048
) -> dict[str, Any]:
    """Read the fields that all families with Llama's names share; arguments are a family's defaults for absent ones."""
    d_model, n_heads = fields.take("hidden_size"), fields.take("num_attention_heads")
    return {
        "family": fields.family,
        "d_model": d_model,
        "n_layers": fields.take("num_hidden_layers"),
        "n_heads": n_heads,
        "n_kv_heads": fields.take_nullable("num_key_value_heads", kv_heads) or n_heads,
        "d_head": fields.take_nullable("head_dim", d_head) or d_model // n_heads,
        "d_mlp": fields.take("intermediate_size"),
        "vocab": fields.take("vocab_size"),
        "context": fields.take("max_position_embeddings", context),
        "gated": True,
        "norm": "rms",
    }


def layer_kinds(fields: Fields, n_layers: int, default: list[str]) -> list[str]:
    """The kind of attention of each layer, as layer_types says: "full_attention" or "sliding_attention"."""
    kinds = fields.take("layer_types", default)
    if len(kinds) != n_layers or not set(kinds) <= {"full_attention", "sliding_attention"}:
        raise fields.unsupported("layer_types", kinds, f"{n_layers} times 'full_attention' or 'sliding_attention'")
    return kinds


def rope_values(fields: Fields) -> dict[str, Any]:
    """The rotary fields of new files, rope_parameters, or of old ones, rope_theta and rope_scaling.

    Raises UnsupportedModelError where a file has both and they differ, since versions of transformers disagree on it.
    """
    parameters = fields.take("rope_parameters", {})
    scaling = fields.take("rope_scaling", {})
    theta = fields.take("rope_theta", None)
    old = {**({} if theta is None else {"rope_theta": theta}), **scaling}
    if parameters and any(parameters.get(name, value) != value for name, value in old.items()):
        raise fields.unsupported("rope_scaling and rope_theta", old, f"what rope_parameters says, {parameters}")
    return {**old, **parameters}


def layout(config: TransformerConfig) -> Layout:
    """Return the layout of the weights."""
    sources = {"embed.weight": stored("model.embed_tokens.weight"), "ln_final.weight": stored("model.norm.weight")}
    if not config.tied:
        sources["unembedding.weight"] = stored("lm_head.weight")
    after = config.norm_outputs
    norms = {}
    if config.norm_inputs:
        norms = {"ln1": "input_layernorm", "ln2": "pre_feedforward_layernorm" if after else "post_attention_layernorm"}
    if after:
        norms |= {"ln1_post": "post_attention_layernorm", "ln2_post": "post_feedforward_layernorm"}
    if config.norm_queries_and_keys:
        norms |= {"attn.q_norm": "self_attn.q_norm", "attn.k_norm": "self_attn.k_norm"}
    biases = {"attn.qkv": config.qkv_bias, "attn.o": config.attention_out_bias, "mlp": config.mlp_bias}
    for layer in range(config.n_layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        for name, other in norms.items():
            sources[f"{ours}.{name}.weight"] = stored(f"{theirs}.{other}.weight")
        for part in ("weight", "bias"):
            if part == "weight" or biases["attn.qkv"]:
                qkv = [f"{theirs}.self_attn.{name}_proj.{part}" for name in "qkv"]
                sources[f"{ours}.attn.qkv.{part}"] = concatenated(*qkv)
            if part == "weight" or biases["attn.o"]:
                sources[f"{ours}.attn.o.{part}"] = stored(f"{theirs}.self_attn.o_proj.{part}")
            if part == "weight" or biases["mlp"]:
                inner = [f"{theirs}.mlp.{name}_proj.{part}" for name in ("gate", "up")]
                sources[f"{ours}.mlp.inner.{part}"] = concatenated(*inner)
                sources[f"{ours}.mlp.out.{part}"] = stored(f"{theirs}.mlp.down_proj.{part}")
    ignored = (".rotary_emb.inv_freq", *(("lm_head.weight",) if config.tied else ()))
    return Layout(sources, "model.", ignored)
