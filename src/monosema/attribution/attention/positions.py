"""Geometry of positions: the phases of rotary pairs, or the geometry of learned vectors.

Rotary (Su et al. 2021, arXiv:2104.09864): the pair i of a head's dimensions turns by θ_i a position. One that turns
once in fewer positions than a text has tells near from far; one that hardly turns within the context tells content. The
share of a pair is that of Σ |q_i| |k_i| over a text, what it can add to scores (Barbero et al. 2024, arXiv:2410.06205).

Learned: how much of the vectors lies in few dimensions, and how alike vectors of near positions are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import Site, UnsupportedModelError
from monosema.models import Transformer
from monosema.models.context import frequencies


@dataclass(frozen=True, eq=False, kw_only=True)
class RotaryPhases:
    """Rotary pairs of one layer.

    Attributes:
        layer: index.
        wavelengths: positions of one turn, by pair.
        shares: of scores on a text, by pair; the rest of the head, which doesn't turn, has what is left to 1.
    """

    layer: int
    wavelengths: Float[Tensor, " pairs"]
    shares: Float[Tensor, " pairs"]

    def within(self, context: int) -> float:
        """Return the share of pairs that turn once or more within a context."""
        return float(self.shares[self.wavelengths <= context].sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"layer": self.layer, "wavelengths": self.wavelengths.tolist(), "shares": self.shares.tolist()}


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnedPositions:
    """Vectors of positions.

    Attributes:
        norms: of each position's vector.
        explained: share of their variance in the first principal components, summed up.
        alike: mean cosine of vectors so many positions apart, centred, by the distance.
    """

    norms: Float[Tensor, " context"]
    explained: Float[Tensor, " components"]
    alike: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"norms": self.norms.tolist(), "explained": self.explained.tolist(), "cosine_by_distance": self.alike}


@torch.no_grad()
def rotary_phases(model: Transformer, ids: Sequence[int]) -> list[RotaryPhases]:
    """Return the pairs of each layer that turns queries and keys, on a text."""
    layers = [layer for layer, one in enumerate(model.config.attention) if one.rotary is not None]
    sites = [Site(layer, name) for layer in layers for name in ("rot_q", "rot_k")]
    kept = model.activations(torch.tensor([list(ids)], device=model.device), sites) if sites else {}
    found = []
    for layer in layers:
        rotary = model.config.attention[layer].rotary
        assert rotary is not None
        q, k = (kept[Site(layer, name)][0].float() for name in ("rot_q", "rot_k"))
        k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
        half = rotary.dims // 2
        size = [torch.hypot(x[..., :half], x[..., half : 2 * half]).mean(0) for x in (q, k)]  # head × pair
        rest = (q[..., 2 * half :].norm(dim=-1) * k[..., 2 * half :].norm(dim=-1)).mean()
        pairs = (size[0] * size[1]).mean(0)
        waves = 2 * math.pi / frequencies(rotary, q.device)
        found.append(RotaryPhases(layer=layer, wavelengths=waves.cpu(), shares=(pairs / (pairs.sum() + rest)).cpu()))
    return found


@torch.no_grad()
def learned_positions(model: Transformer, components: int = 8) -> LearnedPositions:
    """Return the geometry of learned vectors. Raises UnsupportedModelError for a model without any."""
    if model.pos_embed is None:
        raise UnsupportedModelError(f"{model.name} has no vectors of positions: its positions are rotations, or none.")
    vectors = model.pos_embed.weight.float().cpu()
    centred = vectors - vectors.mean(0)
    variance = torch.linalg.svdvals(centred).square()
    unit = centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-12)
    steps = [step for step in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if step < len(vectors)]
    return LearnedPositions(
        norms=vectors.norm(dim=1),
        explained=(variance.cumsum(0) / variance.sum())[:components],
        alike={step: float((unit[:-step] * unit[step:]).sum(1).mean()) for step in steps},
    )
