"""Neighbours of features: by the cosine of their decoder directions, and by firing on the same tokens.

Co-activation is Pearson's correlation of the two indicators "active on the token" (the φ coefficient),

    φ_ij = (n_ij n − n_i n_j) / √(n_i (n − n_i) n_j (n − n_j)),

on tokens drawn from the whole text: cheap to count, bounded in memory, and, other than pointwise mutual information,
not won by pairs that met once. Only pairs that fired together at least MIN_TOGETHER times are kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from monosema.atlas.code_shards import CodeShards
from monosema.atlas.layout import mix
from monosema.core import bf16_is_fast
from monosema.core.groups import ranks

MIN_TOGETHER = 3
_CELLS = 33_554_432
_ROWS = 256
_EXACT = 8192
"""Up to so many latents all products are fp32."""


@dataclass(frozen=True)
class Neighbours:
    """Pairs of latents, sorted by latent, the nearest first.

    Attributes:
        latent, other: the pair.
        value: cosine, or φ.
        rank: from 0.
    """

    latent: Int[np.ndarray, " n"]
    other: Int[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]
    rank: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Coactivation:
    """Neighbours by co-activation, and the tokens they were counted on."""

    neighbours: Neighbours
    tokens: int


@torch.inference_mode()
def decoder_neighbours(directions: Float[Tensor, "n_latents d"], k: int) -> Neighbours:
    """The k latents with the largest cosine of each latent; a latent with no direction has none.

    Where bf16 products are fast they find 2 k candidates, which are then compared in fp32.
    """
    unit = torch.nn.functional.normalize(directions.float(), dim=1)
    n = len(unit)
    k = min(k, n - 1)
    fast = n > _EXACT and bf16_is_fast(unit.device)
    rough = unit.bfloat16() if fast else unit
    wanted = min(2 * k + 1 if fast else k, n)
    others, values = [], []
    step = max(1, _CELLS // n)
    for low in range(0, n if k > 0 else 0, step):
        part = slice(low, min(low + step, n))
        cosine = (rough[part] @ rough.T).float()
        cosine[torch.arange(len(cosine)), torch.arange(part.start, part.stop)] = -2.0
        other = cosine.topk(wanted, dim=1).indices
        exact = torch.einsum("ld,lkd->lk", unit[part], unit[other])
        exact[other == torch.arange(part.start, part.stop, device=other.device)[:, None]] = -2.0
        best = exact.topk(k, dim=1)
        others.append(other.gather(1, best.indices).cpu().numpy())
        values.append(best.values.cpu().numpy())
    if not others:
        return _pairs(np.zeros((n, 0), np.int64), np.zeros((n, 0), np.float32))
    value = np.concatenate(values)
    value[~(torch.linalg.vector_norm(unit, dim=1) > 0.5).cpu().numpy()] = -2.0
    return _pairs(np.concatenate(others), value)


def coactivation_neighbours(
    shards: CodeShards, n_latents: int, kept: int, tokens: int, k: int, seed: int
) -> Coactivation:
    """The k latents with the largest φ of each latent, among those above 0.

    Args:
        kept: kept tokens in the whole text.
        tokens: how many of them to draw, about.
    """
    codes, drawn = _draw(shards, n_latents, min(1.0, tokens / max(kept, 1)), seed)
    count = np.asarray(codes.sum(axis=0)).reshape(-1).astype(np.float64)
    spread = np.sqrt(count * (drawn - count))
    by_latent = codes.T.tocsr()

    def block(low: int) -> tuple[Any, ...]:
        together = (by_latent[low : low + _ROWS] @ codes).tocoo()
        row, column = together.row + low, together.col
        frequent = (together.data >= MIN_TOGETHER) & (row != column)
        row, column, both = row[frequent], column[frequent], together.data[frequent]
        top = both * float(drawn) - count[row] * count[column]
        bottom = spread[row] * spread[column]
        phi = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0).astype(np.float32)
        order = np.lexsort((column, -phi, row))
        order = order[phi[order] > 0]
        rank = ranks(row[order])
        order, rank = order[rank < k], rank[rank < k]
        return row[order], column[order], phi[order], rank

    columns = zip(*_in_threads(block, range(0, n_latents, _ROWS)), strict=True)
    latent, other, value, rank = (np.concatenate(column) for column in columns)
    return Coactivation(Neighbours(latent.astype(np.int32), other.astype(np.int32), value, rank), drawn)


def _draw(shards: CodeShards, n_latents: int, share: float, seed: int) -> tuple[Any, int]:
    """Indicators of the latents on drawn tokens, as a sparse matrix [tokens, n_latents], and the number of tokens."""
    from scipy.sparse import csc_array, vstack

    parts, drawn = [], 0
    hash_seed = mix(np.array([seed % 2**64], np.uint64))
    for shard in shards:
        keep = shard.layout.keep
        numbers = np.arange(shard.first_position, shard.first_position + shard.positions).astype(np.uint64)
        chosen = keep & ((mix(numbers ^ hash_seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53 < share)
        row = np.cumsum(chosen) - 1
        codes = shard.read(0, n_latents)
        mine = chosen[codes.position]
        ends = np.concatenate([[0], np.cumsum(mine)])[codes.first]
        ones = np.ones(int(mine.sum()), np.int32)
        size = int(chosen.sum())
        indices = (row[codes.position[mine]].astype(np.int32), ends.astype(np.int32))
        parts.append(csc_array((ones, *indices), shape=(size, n_latents)).tocsr())
        drawn += size
    return vstack(parts, format="csr"), drawn


def _in_threads(work: Callable[[int], Any], items: range) -> list[Any]:
    """Sparse products run outside the interpreter's lock, but each on one core."""
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)) as pool:
        return list(pool.map(work, items))


def _pairs(other: NDArray[np.integer], value: NDArray[np.float32]) -> Neighbours:
    n, k = other.shape
    good = (value > -1.5).reshape(-1)
    latent, rank = np.repeat(np.arange(n, dtype=np.int32), k), np.tile(np.arange(k), n)
    return Neighbours(latent[good], other.reshape(-1)[good].astype(np.int32), value.reshape(-1)[good], rank[good])
