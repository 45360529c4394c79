"""GPT-NeoX (Black et al. 2022, arXiv 2204.06745): Pythia and its kin."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from monosema.models.config import TransformerConfig
from monosema.models.fields import ACTIVATIONS, Fields, rotary_config, same_attention
from monosema.models.weights import Layout, Source, stored


def config(values: dict[str, Any]) -> TransformerConfig:
    """Our configuration from config.json."""
    fields = Fields(values)
    d_model, n_heads = fields.take("hidden_size", 6144), fields.take("num_attention_heads", 64)
    n_layers, d_head = fields.take("num_hidden_layers", 44), d_model // n_heads
    context = fields.take("max_position_embeddings", 2048)
    rope = {
        "partial_rotary_factor": fields.take("rotary_pct", 0.25),
        "rope_theta": fields.take("rotary_emb_base", fields.take("rope_theta", 10_000.0)),
    }
    rope |= {**fields.take("rope_parameters", {}), **fields.take("rope_scaling", {})}
    bias = fields.take("attention_bias", True)
    result = TransformerConfig(
        family=fields.family,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        d_head=d_head,
        d_mlp=fields.take("intermediate_size", 24576),
        vocab=fields.take("vocab_size", 50432),
        context=context,
        attention=same_attention(
            n_layers, scale=d_head**-0.5, rotary=rotary_config(fields, rope, d_head, 10_000.0, context)
        ),
        activation=fields.choose("hidden_act", "gelu", ACTIVATIONS),
        parallel=fields.take("use_parallel_residual", True),
        norm_eps=fields.take("layer_norm_eps", 1e-5),
        qkv_bias=bias,
        attention_out_bias=bias,
        mlp_bias=True,
        tied=fields.take("tie_word_embeddings", False),
    )
    fields.finish()
    return result


def layout(config: TransformerConfig) -> Layout:
    """Return the layout of the weights: query, key and value of each head lie together."""

    def by_kind(tensor: Tensor) -> Tensor:
        heads = tensor.unflatten(0, (config.n_heads, 3, config.d_head))
        return heads.transpose(0, 1).flatten(0, 2)

    head = "gpt_neox."
    sources = {"embed.weight": stored(f"{head}embed_in.weight")}
    if not config.tied:
        sources["unembedding.weight"] = stored("embed_out.weight")
    names = {
        "ln1": "input_layernorm",
        "ln2": "post_attention_layernorm",
        "mlp.inner": "mlp.dense_h_to_4h",
        "mlp.out": "mlp.dense_4h_to_h",
    }
    for part in ("weight", "bias"):
        sources[f"ln_final.{part}"] = stored(f"{head}final_layer_norm.{part}")
        for layer in range(config.n_layers):
            ours, theirs = f"blocks.{layer}", f"{head}layers.{layer}"
            for name, other in names.items():
                sources[f"{ours}.{name}.{part}"] = stored(f"{theirs}.{other}.{part}")
            if part == "weight" or config.qkv_bias:
                sources[f"{ours}.attn.qkv.{part}"] = Source((f"{theirs}.attention.query_key_value.{part}",), by_kind)
                sources[f"{ours}.attn.o.{part}"] = stored(f"{theirs}.attention.dense.{part}")
    masks = (".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq")
    unused = ("embed_out.weight", "lm_head.weight") if config.tied else ()
    return Layout(sources, head, masks + unused, aliases={"embed_out.weight": "lm_head.weight"})
