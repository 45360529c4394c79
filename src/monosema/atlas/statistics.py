"""Figures of all latents over the whole text, added up shard by shard: exact, in memory that does not grow with the
text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from monosema.atlas.code_shards import ByLatent, CodeShards

BINS = 32
"""Bins of a histogram, over (0, maximum]; a value on an edge belongs to the bin below it."""
_BUCKETS = 33


@dataclass(frozen=True)
class Statistics:
    """Counts, sums and maxima of all latents.

    Attributes:
        tokens: kept tokens.
        passages: passages with at least one kept token.
        positions: positions in all, padding and sinks included.
        n_active: kept tokens on which each latent is active.
        total: sum of its activations.
        maximum: the largest of them; 0 where it is never active.
        histogram: tokens by activation, BINS bins over (0, maximum].
        buckets: first position in the row of each bucket of the profile, and the end of the last.
        bucket_tokens: kept tokens in each bucket.
        profile: active tokens of each latent in each bucket.
    """

    tokens: int
    passages: int
    positions: int
    n_active: Int[np.ndarray, " n_latents"]
    total: Float[np.ndarray, " n_latents"]
    maximum: Float[np.ndarray, " n_latents"]
    histogram: Int[np.ndarray, "n_latents bins"]
    buckets: Int[np.ndarray, " edges"]
    bucket_tokens: Int[np.ndarray, " buckets"]
    profile: Int[np.ndarray, "n_latents buckets"]


def position_buckets(column: NDArray[np.integer]) -> NDArray[np.int64]:
    """Bucket of each position in a row: 0, 1, 2–3, 4–7, 8–15, …"""
    return np.frexp(column.astype(np.float64))[1].astype(np.int64)


def passage_in_train(passage_hash: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Tell passages that explanations are made from (True) from those that they are tested on, by their hash alone.

    So no text is ever in both splits.
    """
    return (passage_hash >> np.uint64(63)).astype(np.bool_)


def gather_statistics(shards: CodeShards, n_latents: int) -> Statistics:
    """Two readings of the shards: counts, sums and maxima first; then the histograms, which need the maxima."""
    n_active = np.zeros(n_latents, np.int64)
    total = np.zeros(n_latents, np.float64)
    maximum = np.zeros(n_latents, np.float32)
    profile = np.zeros((n_latents, _BUCKETS), np.int64)
    bucket_tokens = np.zeros(_BUCKETS, np.int64)
    tokens = passages = positions = 0
    for shard in shards:
        layout, codes = shard.layout, shard.read(0, n_latents)
        latents = _owners(codes)
        bucket = position_buckets(layout.column)
        n_active += np.diff(codes.first)
        total += np.bincount(latents, weights=codes.value, minlength=n_latents)
        _maxima(codes.first, codes.value, maximum)
        keys = latents * _BUCKETS + bucket[codes.position]  # one bincount fills the matrix [n_latents, buckets]
        profile += np.bincount(keys, minlength=n_latents * _BUCKETS).reshape(n_latents, _BUCKETS)
        bucket_tokens += np.bincount(bucket[layout.keep], minlength=_BUCKETS)
        tokens += int(layout.keep.sum())
        positions += len(layout)
        passages += len(np.unique(layout.passage[layout.keep]))
    used = np.flatnonzero(bucket_tokens)
    span = slice(int(used[0]), int(used[-1]) + 1)
    return Statistics(
        tokens=tokens,
        passages=passages,
        positions=positions,
        n_active=n_active,
        total=total,
        maximum=maximum,
        histogram=_histograms(shards, maximum),
        buckets=np.concatenate([[0], 2 ** np.arange(_BUCKETS)])[span.start : span.stop + 1],
        bucket_tokens=bucket_tokens[span],
        profile=profile[:, span],
    )


def _owners(codes: ByLatent) -> NDArray[np.int64]:
    """The latent of each activation."""
    return np.repeat(np.arange(len(codes.first) - 1), np.diff(codes.first))


def _maxima(first: NDArray[np.int64], value: NDArray[np.float32], maximum: NDArray[np.float32]) -> None:
    some = np.flatnonzero(np.diff(first))
    if len(some):
        maximum[some] = np.maximum(maximum[some], np.maximum.reduceat(value, first[some]))


def _histograms(shards: CodeShards, maximum: NDArray[np.float32]) -> NDArray[np.int64]:
    n_latents = len(maximum)
    counts = np.zeros(n_latents * BINS, np.int64)
    top = maximum.astype(np.float64)
    for shard in shards:
        codes = shard.read(0, n_latents)
        latents = _owners(codes)
        bins = np.ceil(codes.value * BINS / top[latents]).astype(np.int64) - 1
        counts += np.bincount(latents * BINS + bins, minlength=n_latents * BINS)
    return counts.reshape(n_latents, BINS)
