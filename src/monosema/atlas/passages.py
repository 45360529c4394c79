"""Passages of a feature: the strongest, and a few drawn from each tenth of all that activate it.

A feature's strength in a passage is its largest activation there, at the *peak*. A passage of strength v belongs to
quantile ⌊10 · #{passages of strength < v} / #{passages}⌋, so q9 are the strongest; passages of equal strength are in
the same quantile. What is shown is the peak with its context; two passages that show the same tokens are one, and the
stronger of them, or the earlier, stays. A passage that is among the strongest is not drawn for its quantile again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt64
from numpy.typing import NDArray

from monosema.atlas.blocks import Block
from monosema.atlas.code_shards import CodeShards
from monosema.atlas.config import AtlasConfig
from monosema.atlas.layout import mix, span_hash
from monosema.core.groups import begins, first_of_each, ramps, ranks

QUANTILES = 10
TOP = QUANTILES
"""The kind that stands for the strongest passages; below it are the quantiles."""
_SPARE = 4
"""Candidates for each passage that is wanted, of which some will turn out to show the same text."""


@dataclass(frozen=True)
class Segments:
    """Activations of one latent in one passage, for all of a block.

    Attributes:
        start: where each begins among the block's activations; one entry more than there are segments.
        latent: its latent, counted from the block's first.
        strength: its largest activation.
    """

    start: Int[np.ndarray, " m"]
    latent: Int[np.ndarray, " n"]
    strength: Float[np.ndarray, " n"]

    def count(self, latents: int) -> NDArray[np.int64]:
        """Passages that activate each latent."""
        return np.bincount(self.latent, minlength=latents)


@dataclass(frozen=True)
class Examples:
    """Selected passages, sorted by latent, then strongest first, then by quantile downwards.

    Attributes:
        latent: counted from the block's first.
        kind: TOP, or the quantile.
        rank: from 0 within the kind; strongest first.
        peak: position of the peak in the whole text.
        start, stop: what is shown, as positions in the whole text.
        hash: hash of the tokens shown.
        strength: activation at the peak.
        entry: index of the peak among the block's activations.
    """

    latent: Int[np.ndarray, " n"]
    kind: Int[np.ndarray, " n"]
    rank: Int[np.ndarray, " n"]
    peak: Int[np.ndarray, " n"]
    start: Int[np.ndarray, " n"]
    stop: Int[np.ndarray, " n"]
    hash: UInt64[np.ndarray, " n"]
    strength: Float[np.ndarray, " n"]
    entry: Int[np.ndarray, " n"]


def segments(block: Block) -> Segments:
    """Cut a block's activations by latent and passage."""
    n = len(block.value)
    new = begins(block.passage)
    new[block.first[:-1][np.diff(block.first) > 0]] = True  # a latent's first activation, though its passage goes on
    start = np.flatnonzero(new)
    strength = np.maximum.reduceat(block.value, start) if n else np.zeros(0, np.float32)
    latent = (np.searchsorted(block.first, start, side="right") - 1).astype(np.int32)
    return Segments(np.append(start, n), latent, strength)


def select_examples(block: Block, parts: Segments, shards: CodeShards, config: AtlasConfig) -> Examples:
    """The strongest passages and those drawn from each quantile, for all latents of a block."""
    chosen, kind = _candidates(block, parts, config)
    latent, strength = parts.latent[chosen], parts.strength[chosen]
    entry = _peaks(block, parts, chosen)
    peak = block.position[entry]
    start, stop, shown = _shown(peak, shards, config)
    drawn_by = np.where(kind == TOP, -strength.astype(np.float64), _sample_keys(block, parts, chosen, config.seed))
    top = np.flatnonzero(kind == TOP)
    top = _distinct(top[np.lexsort((peak[top], drawn_by[top], latent[top]))], latent, kind, shown, config.top)
    both = np.concatenate([top, np.flatnonzero(kind != TOP)])
    both = both[np.lexsort((peak[both], drawn_by[both], -kind[both], latent[both]))]
    both = _distinct(both, latent, kind, shown, max(config.top, config.per_quantile))
    both = both[ranks(latent[both], kind[both]) < np.where(kind[both] == TOP, config.top, config.per_quantile)]
    order = both[np.lexsort((peak[both], -strength[both], -kind[both], latent[both]))]
    rank = ranks(latent[order], kind[order])
    columns = (peak, start, stop, shown, strength, entry)
    return Examples(latent[order], kind[order], rank, *(column[order] for column in columns))


def _distinct(
    order: NDArray[np.int64], latent: NDArray[np.integer], kind: NDArray[np.int64], shown: NDArray[np.uint64], most: int
) -> NDArray[np.int64]:
    """Of candidates in order of preference, those that show new text; at most so many of each latent and kind."""
    order = order[first_of_each(latent[order], shown[order])]
    return order[ranks(latent[order], kind[order]) < most]


def _keys(latent: NDArray[np.integer], strength: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Pack latent (high 32 bits) and strength (low 32 bits) into one sort key: positive float32 bit patterns order like
    the floats, so one sort of integers replaces a lexsort."""
    return (latent.astype(np.uint64) << np.uint64(32)) | np.ascontiguousarray(strength).view(np.uint32)


def _candidates(block: Block, parts: Segments, config: AtlasConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return segments that may be selected, and the kind of each: more than are wanted, never all of a long text.

    A segment may be there twice, for the top and for its quantile; `select_examples` keeps it once.
    """
    n_latents = block.high - block.low
    # Segments in order of (latent, strength): keys[ends[j] - count[j] : ends[j]] are those of latent j, weakest first.
    count = parts.count(n_latents)
    ends = np.cumsum(count)
    keys = np.sort(_keys(parts.latent, parts.strength))
    # bar[j]: strength of latent j's (top · _SPARE)-th strongest segment; those from it on are candidates for the top.
    spare = np.maximum(ends - config.top * _SPARE, ends - count)
    bar = np.zeros(n_latents, np.float32)
    some = count > 0
    bar[some] = (keys[spare[some]] & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32)
    strong = parts.strength >= bar[parts.latent]
    # Of each latent about so many segments are drawn by their hash, whatever the length of the text.
    wanted = QUANTILES * config.per_quantile * _SPARE
    odds = np.minimum(wanted / np.maximum(count, 1), 1.0)
    everything = np.arange(len(parts.latent))
    drawn = _sample_keys(block, parts, everything, config.seed) < (odds * 2.0**32).astype(np.uint64)[parts.latent]
    chosen = np.flatnonzero(strong | drawn)
    # Weaker segments of the same latent: the place among all sorted keys, counted from the latent's first.
    below = (
        np.searchsorted(keys, _keys(parts.latent[chosen], parts.strength[chosen]))
        - (ends - count)[parts.latent[chosen]]
    )
    quantile = below * QUANTILES // count[parts.latent[chosen]]
    top, rest = np.flatnonzero(strong[chosen]), np.flatnonzero(drawn[chosen])
    both = np.concatenate([chosen[top], chosen[rest]])
    kind = np.concatenate([np.full(len(top), TOP), quantile[rest]]).astype(np.int64)
    return both, kind


def _sample_keys(block: Block, parts: Segments, which: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """A number below 2³² for each segment: a hash of seed, latent and passage."""
    latent = (parts.latent[which] + block.low).astype(np.uint64)
    passage = block.passage[parts.start[:-1][which]].astype(np.uint64)
    return mix(mix(latent + np.uint64(seed % 2**32 << 32)) ^ passage) >> np.uint64(32)


def _peaks(block: Block, parts: Segments, which: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the first largest activation of each segment."""
    start, length = parts.start[which], np.diff(parts.start)[which]
    # index: of each activation of the chosen segments among the block's, (sum of lengths,)
    index = np.repeat(start, length) + ramps(length)
    largest = block.value[index] == np.repeat(parts.strength[which], length)
    owner = np.repeat(np.arange(len(which)), length)[largest]
    # Assigned from the last to the first, so that of equal activations the first stays.
    peaks = np.empty(len(which), np.int64)
    peaks[owner[::-1]] = index[largest][::-1]
    return peaks


def _shown(
    peak: NDArray[np.int64], shards: CodeShards, config: AtlasConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """Context of each peak, within its passage and document, and the hash of its tokens."""
    start, stop, shown = np.empty_like(peak), np.empty_like(peak), np.empty(len(peak), np.uint64)
    for shard in shards:
        base = shard.first_position
        inside = np.flatnonzero((peak >= base) & (peak < base + shard.positions))
        if not len(inside):
            continue
        layout, local = shard.layout, peak[inside] - base
        low = np.maximum(layout.start[local], local - config.before).astype(np.int64)
        high = np.minimum(layout.stop[local], local + config.after + 1).astype(np.int64)
        start[inside], stop[inside] = low + base, high + base
        shown[inside] = span_hash(layout.prefix, low, high)
    return start, stop, shown
