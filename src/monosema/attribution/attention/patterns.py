"""Attention on a text: where each head looks, weighed by what it takes from there, and four figures of each head.

    weighted_ij = A_ij ‖v_j W_O‖ / Σ_k A_ik ‖v_k W_O‖       (Kobayashi et al. 2020, arXiv:2004.10102)
    entropy     −Σ_j A_ij log A_ij                           nats, the mean over queries behind the first
    distance    Σ_j A_ij (i − j)                             tokens, likewise
    sink        A_i0                                         share of attention on the first token, likewise
    moved       the same share of what is weighted: a sink whose values are small moves nothing

An attention weight is no proof that what is looked at matters: see what ablating the head does, by `monosema heads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import InputError, Site
from monosema.models import Transformer
from monosema.models.decoder import Block


@dataclass(frozen=True, eq=False)
class AttentionReading:
    """Attention of all heads on a text.

    Attributes:
        tokens: the text's.
        pattern: attention; each row sums to 1.
        weighted: shares by the size of what is taken.
    """

    tokens: tuple[str, ...]
    pattern: Float[Tensor, "layer head query key"]
    weighted: Float[Tensor, "layer head query key"]

    def figures(self) -> dict[str, Float[Tensor, "layer head"]]:
        """Return the four figures of each head; see the module. Raises InputError for a text of one token."""
        later = self.pattern[:, :, 1:]
        if not later.shape[2]:
            raise InputError("Attention needs a text of two tokens or more: a single one looks at itself alone.")
        place = torch.arange(self.pattern.shape[-1], dtype=torch.float32)
        away = (place[1:, None] - place).clamp_min(0)
        return {
            "entropy": -(later * later.clamp_min(1e-12).log()).sum(-1).mean(-1),
            "distance": (later * away).sum(-1).mean(-1),
            "sink": later[..., 0].mean(-1),
            "moved": self.weighted[:, :, 1:, 0].mean(-1),
        }

    def edges(self, layer: int, head: int, least: float = 0.1, weighted: bool = False) -> list[tuple[int, int, float]]:
        """Return the token graph of a head: query, key and share, the largest first; shares of at least `least`."""
        shares = (self.weighted if weighted else self.pattern)[layer, head]
        found = [(int(q), int(k), float(shares[q, k])) for q, k in (shares >= least).nonzero().tolist()]
        return sorted(found, key=lambda edge: -edge[2])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the figures of all heads, and the patterns."""
        figures = {name: values.tolist() for name, values in self.figures().items()}
        return {"tokens": list(self.tokens), **figures, "pattern": self.pattern.tolist()}


@torch.no_grad()
def read_attention(model: Transformer, ids: Sequence[int]) -> AttentionReading:
    """Read the attention of all heads on a text, by one pass."""
    layers = range(model.n_layers)
    kept = model.activations(
        torch.tensor([list(ids)], device=model.device), [Site(n, name) for n in layers for name in ("v", "pattern")]
    )
    pattern = torch.stack([kept[Site(layer, "pattern")][0].float().cpu() for layer in layers])
    sizes = torch.stack([_sizes(model, layer, kept[Site(layer, "v")][0]) for layer in layers])
    moved = pattern * sizes[:, :, None]
    weighted = moved / moved.sum(-1, keepdim=True).clamp_min(1e-12)
    return AttentionReading(tuple(model.tokenizer.tokens(ids)), pattern, weighted)


def _sizes(model: Transformer, layer: int, v: Float[Tensor, "pos kv_head d_head"]) -> Float[Tensor, "head pos"]:
    """Return ‖v_j W_O‖ of each head and key."""
    block = model.blocks[layer]
    assert isinstance(block, Block)
    each = v.repeat_interleave(block.n_heads // block.n_kv_heads, dim=1).float()
    out = block.attn.o.weight.float().unflatten(1, (block.n_heads, -1))
    return torch.einsum("phk,dhk->hpd", each, out).norm(dim=-1).cpu()
