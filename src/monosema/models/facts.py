"""What a model is made of, from its configuration alone: no weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from monosema.core import UnsupportedModelError, read_json
from monosema.models.config import TransformerConfig
from monosema.models.loading import FAMILIES, model_folder
from monosema.models.transformer import Transformer

__all__ = ["ModelFacts", "model_facts"]

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class ModelFacts:
    """A model's shape and cost.

    Attributes:
        name: as it was asked for.
        path: directory of its files.
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
        cache_bytes_per_token: of keys and values, in the stored precision.
    """

    name: str
    path: str
    family: str
    layers: int
    d_model: int
    d_mlp: int
    heads: int
    kv_heads: int
    d_head: int
    context: int
    vocab: int
    positions: str
    normalisation: str
    activation: str
    blocks: str
    tied: bool
    precision: str
    parameters: Mapping[str, int]
    flop_per_token: int
    attention_flop_per_token: int
    cache_bytes_per_token: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def model_facts(name_or_path: str | Path) -> ModelFacts:
    """The facts of a model; of a hub model, only the configuration is fetched.

    Raises:
        UnknownModelError: no such model.
        UnsupportedModelError: a model that monosema does not compute itself.
    """
    folder = model_folder(name_or_path, weights=False)
    values = read_json(folder / "config.json")
    family = FAMILIES.get(values.get("model_type", ""))
    if family is None:
        raise UnsupportedModelError(
            f"{name_or_path} is of type {values.get('model_type')!r}, whose shape is known to its own code only; "
            f"models of these types can be inspected: {', '.join(FAMILIES)}."
        )
    config = family.config(values)
    parameters = _parameters(config)
    heads = config.n_heads * config.d_head
    used = parameters["attention"] + parameters["mlp"] + config.vocab * config.d_model
    precision = str(values.get("dtype") or values.get("torch_dtype") or "float32")
    return ModelFacts(
        name=str(name_or_path),
        path=str(folder.resolve()),
        family=config.family,
        layers=config.n_layers,
        d_model=config.d_model,
        d_mlp=config.d_mlp,
        heads=config.n_heads,
        kv_heads=config.n_kv_heads,
        d_head=config.d_head,
        context=config.context,
        vocab=config.vocab,
        positions=_positions(config),
        normalisation={"layer": "LayerNorm", "rms": "RMSNorm", "rms_offset": "RMSNorm, weight + 1"}[config.norm],
        activation=f"{config.activation}, gated" if config.gated else config.activation,
        blocks="attention and MLP in parallel" if config.parallel else "attention, then MLP",
        tied=config.tied,
        precision=precision,
        parameters=parameters,
        flop_per_token=2 * used,
        attention_flop_per_token=sum(
            4 * heads * min(config.context, a.window or config.context) for a in config.attention
        ),
        cache_bytes_per_token=2 * config.n_layers * config.n_kv_heads * config.d_head * _BYTES.get(precision, 4),
    )


def _parameters(config: TransformerConfig) -> dict[str, int]:
    """Parameters by part; a tied unembedding counts once, as the embedding."""
    parts = dict.fromkeys(("total", "embedding", "positions", "attention", "mlp", "norms", "unembedding"), 0)
    with torch.device("meta"):
        model = Transformer(config)
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
    rotary = config.attention[0].rotary
    if rotary is None:
        return "none"
    turned = "" if rotary.dims == config.d_head else f" on {rotary.dims} of {config.d_head} dimensions"
    scaled = "" if rotary.scaling == "none" else f", {rotary.scaling} scaling × {rotary.factor:g}"
    return f"rotary{turned}, base {rotary.base:,.0f}{scaled}"
