"""Random models of every kind of decoder: norms, shared heads, parallel blocks, soft caps, windows."""

from __future__ import annotations

from monosema.models import AttentionConfig, RotaryConfig, Transformer, TransformerConfig
from monosema.models import random_model as random

SHAPE = {
    "d_model": 16,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 4,
    "d_head": 4,
    "d_mlp": 32,
    "vocab": 259,
    "context": 32,
}
ROTARY = AttentionConfig(scale=0.5, rotary=RotaryConfig(dims=4))
KINDS = {
    "gpt2": {"attention": (AttentionConfig(scale=0.5),) * 2, "learned_positions": True, "mlp_bias": True},
    "gpt_neox": {"attention": (AttentionConfig(scale=0.5, rotary=RotaryConfig(dims=2)),) * 2, "parallel": True},
    "llama": {"attention": (ROTARY,) * 2, "gated": True, "norm": "rms", "n_kv_heads": 2, "tied": True},
    "qwen3": {"attention": (ROTARY,) * 2, "gated": True, "norm": "rms", "norm_queries_and_keys": True},
    "olmo2": {
        "attention": (ROTARY, AttentionConfig(scale=0.5)),
        "gated": True,
        "norm": "rms",
        "norm_inputs": False,
        "norm_outputs": True,
        "norm_queries_and_keys": True,
        "norm_across_heads": True,
    },
    "gemma2": {
        "attention": (ROTARY.replace(window=3), ROTARY),
        "gated": True,
        "norm": "rms_offset",
        "norm_outputs": True,
        "score_softcap": 5.0,
        "logit_softcap": 5.0,
        "embed_scale": 4.0,
    },
}


def family_model(kind: str, seed: int = 0, **changes: object) -> Transformer:
    """Return a random model of a kind, with some facts changed."""
    return random(TransformerConfig(family=kind, **{**SHAPE, **KINDS[kind], **changes}), seed)
