"""GPT-2 (Radford et al. 2019)."""

from __future__ import annotations

from typing import Any

from monosema.models.config import AttentionConfig, TransformerConfig
from monosema.models.fields import ACTIVATIONS, Fields
from monosema.models.weights import Layout, stored, transposed


def config(values: dict[str, Any]) -> TransformerConfig:
    """Our configuration from config.json."""
    fields = Fields(values)
    d_model, n_heads, n_layers = fields.take("n_embd", 768), fields.take("n_head", 12), fields.take("n_layer", 12)
    scale = (d_model // n_heads) ** -0.5 if fields.take("scale_attn_weights", True) else 1.0
    by_depth = fields.take("scale_attn_by_inverse_layer_idx", False)
    fields.take("reorder_and_upcast_attn", False)  # the order of the same products
    fields.require("add_cross_attention", False)
    result = TransformerConfig(
        family=fields.family,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        d_head=d_model // n_heads,
        d_mlp=fields.take("n_inner", 4 * d_model),
        vocab=fields.take("vocab_size", 50257),
        context=fields.take("n_positions", 1024),
        attention=tuple(AttentionConfig(scale=scale / (i + 1 if by_depth else 1)) for i in range(n_layers)),
        learned_positions=True,
        activation=fields.choose("activation_function", "gelu_new", ACTIVATIONS),
        norm_eps=fields.take("layer_norm_epsilon", 1e-5),
        qkv_bias=True,
        attention_out_bias=True,
        mlp_bias=True,
        tied=fields.take("tie_word_embeddings", True),
    )
    fields.finish()
    return result


def layout(config: TransformerConfig) -> Layout:
    """Return the layout: matrices are stored input × output, so they are transposed."""
    head = "transformer."
    sources = {"embed.weight": stored(f"{head}wte.weight"), "pos_embed.weight": stored(f"{head}wpe.weight")}
    if not config.tied:
        sources["unembedding.weight"] = stored("lm_head.weight")
    matrices = {"attn.qkv": "attn.c_attn", "attn.o": "attn.c_proj", "mlp.inner": "mlp.c_fc", "mlp.out": "mlp.c_proj"}
    for layer in range(config.n_layers):
        ours, theirs = f"blocks.{layer}", f"{head}h.{layer}"
        for name, other in matrices.items():
            sources[f"{ours}.{name}.weight"] = transposed(f"{theirs}.{other}.weight")
            sources[f"{ours}.{name}.bias"] = stored(f"{theirs}.{other}.bias")
        for name, other in {"ln1": "ln_1", "ln2": "ln_2"}.items():
            for part in ("weight", "bias"):
                sources[f"{ours}.{name}.{part}"] = stored(f"{theirs}.{other}.{part}")
    for part in ("weight", "bias"):
        sources[f"ln_final.{part}"] = stored(f"{head}ln_f.{part}")
    ignored = (".attn.bias", ".attn.masked_bias", *(("lm_head.weight",) if config.tied else ()))
    return Layout(sources, head, ignored)
