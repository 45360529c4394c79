"""Cutting: a smaller decoder of the layers, heads and neurons that are kept.

Equal numbers of heads, and of neurons, are kept in each layer, so that the smaller model is one of the same family that
any library loads (as in Muralidharan et al. 2024, arXiv:2407.14679). Heads that share keys and values stay or go
together. What the smaller model computes is what the whole one does with zeros for what is gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from monosema.core import InputError, Site, UnsupportedModelError
from monosema.models import LanguageModel, Transformer, require_decoder
from monosema.models.config import TransformerConfig


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Parts of a decoder.

    Attributes:
        layers: kept layers, in order.
        heads: for each layer of the whole model, the kept sets of keys and values, in order, with all their queries.
        neurons: for each layer of the whole model, the kept neurons, in order.
    """

    layers: tuple[int, ...]
    heads: tuple[tuple[int, ...], ...]
    neurons: tuple[tuple[int, ...], ...]

    @classmethod
    def all_of(cls, config: TransformerConfig) -> Kept:
        """Return all parts."""
        n = config.n_layers
        return cls(
            layers=tuple(range(n)),
            heads=(tuple(range(config.n_kv_heads)),) * n,
            neurons=(tuple(range(config.d_mlp)),) * n,
        )


@torch.no_grad()
def cut(model: LanguageModel, kept: Kept) -> Transformer:
    """Return a smaller model of what is kept, with weights of its own.

    Raises:
        InputError: nothing is kept, or not equally many in each layer.
        UnsupportedModelError: heads of a model that normalises queries over all heads together (OLMo 2), or a model
            that another library runs.
    """
    whole = require_decoder(model)
    before = whole.config
    config = before.replace(
        n_layers=len(kept.layers),
        attention=tuple(before.attention[layer] for layer in kept.layers),
        n_heads=_each("heads", kept.heads, kept.layers) * (before.n_heads // before.n_kv_heads),
        n_kv_heads=_each("heads", kept.heads, kept.layers),
        d_mlp=_each("neurons", kept.neurons, kept.layers),
    )
    if before.norm_across_heads and config.n_heads != before.n_heads:
        raise UnsupportedModelError(
            f"{whole.name!r} normalises queries over all heads together, so no head can go without changing the others."
        )
    tokenizer = whole.tokenizer
    with torch.device("meta"):
        small = Transformer(config, tokenizer, name=f"{whole.name}, pruned", folder=None)
    state = whole.state_dict()
    made = {name: state[name] for name in small.state_dict() if not name.startswith("blocks.")}
    for new, old in enumerate(kept.layers):
        rows = _rows(before, kept, old)
        for name, value in state.items():
            if name.startswith(f"blocks.{old}."):
                part = name.removeprefix(f"blocks.{old}.")
                made[f"blocks.{new}.{part}"] = rows.get(part, lambda x: x)(value).clone()
    small.load_state_dict(made, assign=True)
    return small.eval().requires_grad_(False)


def _each(what: str, parts: tuple[tuple[int, ...], ...], layers: tuple[int, ...]) -> int:
    numbers = {len(parts[layer]) for layer in layers}
    if len(numbers) != 1 or not min(numbers):
        raise InputError(f"Each kept layer must keep equally many {what}, and one at least, of one layer at least.")
    return numbers.pop()


def _rows(config: TransformerConfig, kept: Kept, layer: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return what is taken of each parameter of a block; others stay whole."""
    width, shared = config.d_head, config.n_heads // config.n_kv_heads
    pairs = torch.tensor(kept.heads[layer])
    keys = (pairs[:, None] * width + torch.arange(width)).flatten()
    queries = (pairs[:, None] * shared * width + torch.arange(shared * width)).flatten()
    first, second = config.n_heads * width, config.n_kv_heads * width
    qkv = torch.cat([queries, first + keys, first + second + keys])
    neurons = torch.tensor(kept.neurons[layer])
    inner = torch.cat([neurons, config.d_mlp + neurons]) if config.gated else neurons
    return {
        "attn.qkv.weight": lambda x: x[qkv],
        "attn.qkv.bias": lambda x: x[qkv],
        "attn.o.weight": lambda x: x[:, queries],
        "mlp.inner.weight": lambda x: x[inner],
        "mlp.inner.bias": lambda x: x[inner],
        "mlp.out.weight": lambda x: x[:, neurons],
    }


@contextlib.contextmanager
def masked(model: Transformer, kept: Kept) -> Iterator[None]:
    """Put zeros for all that is not kept while the block lasts: the slow twin of `cut`."""
    config = model.config
    shared = config.n_heads // config.n_kv_heads
    with contextlib.ExitStack() as stack:
        for layer in range(config.n_layers):
            if layer not in kept.layers:
                for name in ("attn_out", "mlp_out"):
                    stack.enter_context(model.edit(Site(layer, name), torch.zeros_like))
                continue
            heads = torch.zeros(config.n_heads, 1)
            heads[[pair * shared + query for pair in kept.heads[layer] for query in range(shared)]] = 1
            neurons = torch.zeros(config.d_mlp)
            neurons[list(kept.neurons[layer])] = 1
            for name, mask in (("z", heads), ("mlp.post", neurons)):
                stack.enter_context(model.edit(Site(layer, name), _times(mask.to(model.device))))
        yield


def _times(mask: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: x * mask
