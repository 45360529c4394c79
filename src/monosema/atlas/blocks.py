"""All activations of a block of latents, sorted by latent and then by position: the unit in which an atlas is
assembled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from monosema.atlas.code_shards import CodeShards
from monosema.atlas.layout import mix
from monosema.atlas.statistics import passage_in_train

BYTES_PER_ACTIVATION = 100
"""Peak memory of assembling a block, in bytes per activation; measured."""


@dataclass(frozen=True)
class Block:
    """Activations of the latents from `low` to below `high`.

    Attributes:
        first: where each latent begins; one entry more than there are latents.
        value: the activation, above 0.
        position: position in the whole text.
        token: id of the token there.
        passage: number of the passage in the whole text.
        train: whether its passage is one that labels are made from (else, that they are tested on).
        share: share of the passages that was looked at: 1 unless one latent has more activations than fit in memory;
            then passages are drawn by their hash.
    """

    low: int
    high: int
    first: Int[np.ndarray, " m"]
    value: Float[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]
    token: Int[np.ndarray, " n"]
    passage: Int[np.ndarray, " n"]
    train: Bool[np.ndarray, " n"]
    share: float

    @property
    def latent(self) -> NDArray[np.int32]:
        """The latent of each activation, counted from `low`."""
        return np.repeat(np.arange(self.high - self.low, dtype=np.int32), np.diff(self.first))


def blocks(activations: NDArray[np.int64], memory_mb: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut all latents into blocks whose activations fit in memory, of `most` latents at most.

    Args:
        activations: activations of each latent, shape (n_latents,).
    """
    room = memory_mb * 1e6 / BYTES_PER_ACTIVATION
    ends = np.cumsum(activations)
    low = 0
    while low < len(activations):
        before = ends[low - 1] if low else 0
        high = int(np.searchsorted(ends, before + room, side="right"))
        high = min(max(high, low + 1), low + most, len(activations))
        yield low, high
        low = high


def load_block(shards: CodeShards, low: int, high: int, memory_mb: int) -> Block:
    """Read the activations of a block of latents from all shards."""
    slices = [np.diff(shard.read_first(low, high)) for shard in shards]
    total = int(sum(counts.sum() for counts in slices))
    share = min(1.0, memory_mb * 1e6 / BYTES_PER_ACTIVATION / max(total, 1))
    if high - low > 1 or share == 1.0:
        return _merge(shards, low, high, np.stack(slices), share=1.0)
    return _merge(shards, low, high, None, share)


def _merge(shards: CodeShards, low: int, high: int, counts: NDArray[np.int64] | None, share: float) -> Block:
    """Put the slices of the shards together; where passages are drawn, sizes are known only after reading."""
    parts = [_part(shards, index, low, high, share) for index in range(len(shards))]
    if counts is None:
        counts = np.array([[len(part[0])] for part in parts])
    # counts[shard, latent]. A latent's activations of all shards follow each other: starts[shard, latent] is where
    # those of one shard go, so one scatter per shard sorts by latent and then by position.
    of_latent = counts.sum(axis=0)
    first = np.concatenate([[0], np.cumsum(of_latent)])
    starts = first[:-1] + np.cumsum(counts, axis=0) - counts
    dtypes: tuple[type[np.generic], ...] = (np.float32, np.int64, np.int32, np.int64, np.bool_)
    columns: list[NDArray[Any]] = [np.empty(first[-1], dtype) for dtype in dtypes]
    for index, part in enumerate(parts):
        source = np.cumsum(counts[index]) - counts[index]
        target = np.repeat(starts[index] - source, counts[index]) + np.arange(len(part[0]))
        for column, values in zip(columns, part, strict=True):
            column[target] = values
    value, position, token, passage, train = columns
    return Block(low, high, first, value, position, token, passage, train, share)


def _part(shards: CodeShards, index: int, low: int, high: int, share: float) -> tuple[NDArray[np.generic], ...]:
    shard = shards[index]
    codes, layout = shard.read(low, high), shard.layout
    position, value = codes.position, codes.value
    passage = layout.passage[position]
    if share < 1.0:
        drawn = mix(layout.passage_hash ^ np.uint64(0x5851F42D4C957F2D))[passage] < np.uint64(share * 2.0**64)
        position, value, passage = position[drawn], value[drawn], passage[drawn]
    train = passage_in_train(layout.passage_hash)[passage]
    return (
        value,
        position + np.int64(shard.first_position),
        layout.token[position],
        passage + np.int64(shard.first_passage),
        train,
    )
