"""Facts of a model from its configuration alone: no weights are read.

Of a model that runs by transformers' code only what every configuration says is known; the rest is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from monosema.core import MonosemaError
from monosema.models.config import TransformerConfig
from monosema.models.foreign import empty_foreign_model
from monosema.models.loading import FAMILIES, family_config, model_folder, model_values
from monosema.models.tokenizer import Tokenizer
from monosema.models.transformer import Transformer
from monosema.models.weights import Layout, WeightFiles

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class ModelFacts:
    """A model's shape and cost.

    Attributes:
        name: as it was asked for.
        path: directory of its files, or its GGUF file.
        family: the kind of its weights.
        layers, d_model, d_mlp: blocks, width of the residual stream, neurons of an MLP.
        heads, kv_heads, d_head: query heads, shared keys and values, width of each.
        context, vocab: longest sequence in tokens, rows of the embedding.
        positions, normalisation, activation, blocks: how it computes, in words.
        tied: whether the unembedding is the embedding's transpose.
        precision: in which the weights are stored.
        parameters: their number, in all and by part.
        flop_per_token: of the products with weights, 2 for each weight used.
        attention_flop_per_token: of scores and weighted sums besides, at full context.
        cache_bytes_per_token: of keys and values, in the stored precision; in float32 where that is no precision to
            compute in.
        problem: the reason why a directory's files can't be loaded, as far as names, sizes and shapes tell; None where
            they can, or the model is no directory.
    """

    name: str
    path: str
    family: str
    layers: int | None
    d_model: int | None
    d_mlp: int | None
    heads: int | None
    kv_heads: int | None
    d_head: int | None
    context: int | None
    vocab: int | None
    positions: str | None
    normalisation: str | None
    activation: str | None
    blocks: str
    tied: bool | None
    precision: str
    parameters: Mapping[str, int]
    flop_per_token: int | None
    attention_flop_per_token: int | None
    cache_bytes_per_token: int | None
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def model_facts(name_or_path: str | Path) -> ModelFacts:
    """The facts of a model; of a hub model, only the configuration is fetched.

    Raises:
        UnknownModelError: no such model.
        UnsupportedModelError: a model that neither monosema nor transformers can compute.
    """
    folder = model_folder(name_or_path, weights=False)
    values = model_values(folder)
    precision = str(values.get("dtype") or values.get("torch_dtype") or "float32")
    family = FAMILIES.get(values.get("model_type", ""))
    if family is None:
        layout, facts = None, _foreign_facts(folder, values)
    else:
        config = family_config(family, values, folder)
        layout, facts = family.layout(config), _own_facts(config, precision)
    problem = _problem(folder, values, layout) if Path(name_or_path).is_dir() else None
    return ModelFacts(name=str(name_or_path), path=str(folder.resolve()), precision=precision, problem=problem, **facts)


def _problem(folder: Path, values: Mapping[str, Any], layout: Layout | None) -> str | None:
    try:
        WeightFiles(folder).check(layout)
        if layout is not None or (folder / "tokenizer.json").exists():
            Tokenizer.from_folder(folder, values)
    except MonosemaError as error:
        return str(error)
    return None


def _own_facts(config: TransformerConfig, precision: str) -> dict[str, Any]:
    with torch.device("meta"):
        model = Transformer(config)
    weights = [p.numel() for name, p in model.named_parameters() if p.ndim == 2 and _part(name) in ("attention", "mlp")]
    seen = [min(config.context, attention.window or config.context) for attention in config.attention]
    return {
        "family": config.family,
        "layers": config.n_layers,
        "d_model": config.d_model,
        "d_mlp": config.d_mlp,
        "heads": config.n_heads,
        "kv_heads": config.n_kv_heads,
        "d_head": config.d_head,
        "context": config.context,
        "vocab": config.vocab,
        "positions": _positions(config),
        "normalisation": {"layer": "LayerNorm", "rms": "RMSNorm", "rms_offset": "RMSNorm, weight + 1"}[config.norm],
        "activation": f"{config.activation}, gated" if config.gated else config.activation,
        "blocks": "attention and MLP in parallel" if config.parallel else "attention, then MLP",
        "tied": config.tied,
        "parameters": _parameters(model),
        "flop_per_token": 2 * (sum(weights) + config.vocab * config.d_model),
        "attention_flop_per_token": 4 * config.n_heads * config.d_head * sum(seen),
        "cache_bytes_per_token": 2 * config.n_layers * config.n_kv_heads * config.d_head * _BYTES.get(precision, 4),
    }


def _foreign_facts(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    model = empty_foreign_model(folder, dict(values))
    module: Any = model.module
    embedding = sum(parameter.numel() for parameter in module.get_input_embeddings().parameters())
    total = sum(parameter.numel() for parameter in model.module.parameters())
    heads = model.fact("n_heads")
    return {
        "family": str(values.get("model_type")),
        "layers": model.fact("n_layers"),
        "d_model": model.fact("d_model"),
        "d_mlp": values.get("intermediate_size", values.get("ffn_dim")),
        "heads": heads,
        "kv_heads": values.get("num_key_value_heads", heads),
        "d_head": values.get("head_dim"),
        "context": model.fact("context"),
        "vocab": model.fact("vocab"),
        "positions": values.get("position_embedding_type"),
        "normalisation": None,
        "activation": values.get("hidden_act", values.get("activation_function")),
        "blocks": "by transformers' code",
        "tied": values.get("tie_word_embeddings"),
        "parameters": {"total": total, "embedding": embedding, "others": total - embedding},
        "flop_per_token": None,
        "attention_flop_per_token": None,
        "cache_bytes_per_token": None,
    }


def _parameters(model: Transformer) -> dict[str, int]:
    """Parameters by part; a tied unembedding counts once, as the embedding."""
    parts = dict.fromkeys(("total", "embedding", "positions", "attention", "mlp", "norms", "unembedding"), 0)
    for name, parameter in model.named_parameters():
        parts["total"] += parameter.numel()
        parts[_part(name)] += parameter.numel()
    return {part: count for part, count in parts.items() if count}


def _part(name: str) -> str:
    owner = name.rsplit(".", 2)[-2] if "." in name else name
    if owner.startswith(("ln", "q_norm", "k_norm")):
        return "norms"
    if ".attn." in name:
        return "attention"
    if ".mlp." in name:
        return "mlp"
    return {"embed": "embedding", "pos_embed": "positions", "unembedding": "unembedding"}[owner]


def _positions(config: TransformerConfig) -> str:
    if config.learned_positions:
        return "learned vectors"
    turning = [attention.rotary for attention in config.attention if attention.rotary is not None]
    if not turning:
        return "none"
    rotary, some = turning[0], len(turning) < config.n_layers
    layers = f" in {len(turning)} of {config.n_layers} layers" if some else ""
    turned = "" if rotary.dims == config.d_head else f" on {rotary.dims} of {config.d_head} dimensions"
    factor = max(rotary.factors, default=rotary.factor)
    scaled = "" if rotary.scaling == "none" else f", {rotary.scaling.replace('_', ' ')} scaling × {factor:g}"
    return f"rotary{layers}{turned}, base {rotary.base:,.0f}{scaled}"
