"""QK and OV circuits: what a head's weights alone make it look at and write (Elhage et al. 2021, "A Mathematical
Framework for Transformer Circuits").

    QK_qk = n(e_q) W_Q R_Δ W_Kᵀ n(e_k)ᵀ · scale     token q at the query, k at the key, Δ positions before it
    OV_kt = n(e_k) W_V W_O W_U                      what is added to the logit of t where k is attended to

e is a token's embedding, n the layer's norm, R the rotation where positions are rotations. Layers before are left out:
in a first layer this is what the head does, in later ones the part that goes by the embedding straight.

    copying   Σ λ / Σ |λ| over the eigenvalues of W_E W_V W_O W_U     1: a head raises what it attends to
    matching  the same of W_E W_Q W_Kᵀ W_Eᵀ                          1: it looks for tokens like the query's own

Gains of the norms are counted in both, the scale of a norm in neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import InputError
from monosema.models import Transformer
from monosema.models.context import rotate, rotation
from monosema.models.decoder import Block, Norm

_ROWS = 1024

Pair = tuple[int, int, float]
"""Two tokens and their score."""


@dataclass(frozen=True, kw_only=True)
class HeadCircuits:
    """Circuits of a head, read off its weights.

    Attributes:
        looks: query, key and score of the strongest pairs of tokens.
        writes: attended token, raised token and score, likewise.
        copying, matching: see the module.
    """

    layer: int
    head: int
    looks: tuple[Pair, ...]
    writes: tuple[Pair, ...]
    copying: float
    matching: float

    def to_dict(self, model: Transformer) -> dict[str, Any]:
        """Plain values for JSON, tokens by their texts."""

        def named(pairs: tuple[Pair, ...]) -> list[list[Any]]:
            return [[*model.tokenizer.tokens([one, other]), score] for one, other, score in pairs]

        scores = {"copying": self.copying, "matching": self.matching}
        return {"head": f"a{self.layer}.h{self.head}", **scores, "qk": named(self.looks), "ov": named(self.writes)}


@torch.no_grad()
def head_circuits(model: Transformer, layer: int, head: int, *, distance: int = 1, n: int = 10) -> HeadCircuits:
    """Read a head's circuits off the weights.

    Args:
        distance: positions from key to query, for rotary models.
        n: pairs to list.

    Raises:
        InputError: no such head, or a distance beyond the context.
    """
    if not (0 <= layer < model.n_layers and 0 <= head < model.n_heads and 0 <= distance < model.context):
        raise InputError(
            f"a{layer}.h{head} at a distance of {distance} is not there: {model.name} has {model.n_layers} layers of "
            f"{model.n_heads} heads, and a context of {model.context:,}."
        )
    block = model.blocks[layer]
    assert isinstance(block, Block)
    attn, shared = block.attn, head // (model.n_heads // block.n_kv_heads)
    q, k, v = (weight.float().unflatten(0, (-1, attn.d_head)) for weight in attn.qkv.weight.split(attn.sizes))
    q, k, v = q[head], k[shared], v[shared]  # d_head × d_model
    out = attn.o.weight.float().unflatten(1, (model.n_heads, -1))[:, head]  # d_model × d_head
    tokens = model.embed.weight.float() * model.config.embed_scale
    read = tokens if block.ln1 is None else block.ln1(tokens.to(model.dtype)).float()
    queries, keys = _turned(attn.q_norm, read @ q.T), _turned(attn.k_norm, read @ k.T)
    rotary = attn.settings.rotary
    if rotary is not None:
        places = torch.tensor([[0, distance]], device=read.device)
        cos, sin = rotation(rotary, places, torch.float32)
        queries = rotate(queries[None, :, None], (cos[:, 1:], sin[:, 1:]))[0, :, 0]
        keys = rotate(keys[None, :, None], (cos[:, :1], sin[:, :1]))[0, :, 0]
    written = model.unembed(out.T).float()  # d_head × vocab
    gain = torch.ones(model.d_model) if block.ln1 is None else block.ln1.gain().cpu()
    embedded = tokens * gain.to(tokens)
    return HeadCircuits(
        layer=layer,
        head=head,
        looks=_strongest(queries * attn.settings.scale, keys.T, n),
        writes=_strongest(read @ v.T, written, n),
        copying=_positive(written @ embedded @ v.T),
        matching=_positive(q @ embedded.T @ embedded @ k.T),
    )


def _turned(norm: Norm | None, x: Float[Tensor, "vocab d_head"]) -> Float[Tensor, "vocab d_head"]:
    """Normalise queries or keys where the model does so head by head; norms across heads need the other heads."""
    return x if norm is None or len(norm.weight) != x.shape[1] else norm(x).float()


def _strongest(left: Float[Tensor, "rows d"], right: Float[Tensor, "d columns"], n: int) -> tuple[Pair, ...]:
    """Return the n largest of all products, some rows at a time."""
    found = list[Pair]()
    for start in range(0, len(left), _ROWS):
        product = left[start : start + _ROWS] @ right
        best = product.flatten().topk(min(n, product.numel()))
        found += [
            (start + at // right.shape[1], at % right.shape[1], value)
            for at, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    return tuple(sorted(found, key=lambda pair: -pair[2])[:n])


def _positive(square: Float[Tensor, "d_head d_head"]) -> float:
    """Return Σ Re λ / Σ |λ|; of A B the eigenvalues are those of B A, so a matrix as wide as a head will do."""
    values = torch.linalg.eigvals(square.double())
    return float(values.real.sum() / values.abs().sum())
