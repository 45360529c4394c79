"""Passages that do not activate a feature: a few for each, drawn at random from one sample of the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt64
from numpy.typing import NDArray

from monosema.atlas.blocks import Block
from monosema.atlas.code_shards import CodeShards
from monosema.atlas.columns import hexadecimal, lists
from monosema.atlas.config import AtlasConfig
from monosema.atlas.layout import mix, span_hash
from monosema.atlas.statistics import passage_in_train
from monosema.core.groups import ranks

_SPARE = 32
"""Passages in the sample for each one that is wanted of a feature, which is active on some of them."""


@dataclass(frozen=True)
class Sample:
    """Passages drawn before any latent is looked at, no two with the same tokens.

    Attributes:
        passage: number in the whole text, ascending.
        document, place: document of the position that is shown in the middle, and its place there.
        peak: place of that position in what is shown.
        tokens: what is shown.
        hash: of what is shown.
        test: mask of those that labels are tested on.
    """

    passage: Int[np.ndarray, " n"]
    document: Int[np.ndarray, " n"]
    place: Int[np.ndarray, " n"]
    peak: Int[np.ndarray, " n"]
    tokens: list[NDArray[np.int32]]
    hash: UInt64[np.ndarray, " n"]
    test: Bool[np.ndarray, " n"]

    @classmethod
    def draw(cls, shards: CodeShards, config: AtlasConfig) -> Sample:
        """Draw `config.inactive` · 32 passages by a hash of their numbers, each around a position of it."""
        wanted = (config.inactive or 0) * _SPARE
        salt = mix(np.array([config.seed % 2**64], np.uint64))[0]
        parts: list[tuple[Any, ...]] = []
        for shard in shards:
            layout = shard.layout
            kept = np.flatnonzero(layout.keep)
            number = layout.passage[kept].astype(np.uint64) + np.uint64(shard.first_passage)
            ticket = mix(mix(number ^ salt) ^ mix(kept.astype(np.uint64)) >> np.uint64(40))
            order = np.argsort(ticket, kind="stable")
            _, first = np.unique(layout.passage[kept[order]], return_index=True)
            chosen = order[np.sort(first)[:wanted]]
            at = kept[chosen]
            low = np.maximum(layout.start[at], at - config.before).astype(np.int64)
            high = np.minimum(layout.stop[at], at + config.after + 1).astype(np.int64)
            split = passage_in_train(layout.passage_hash)[layout.passage[at]]
            tokens = [layout.token[a:b] for a, b in zip(low.tolist(), high.tolist(), strict=True)]
            shown = span_hash(layout.prefix, low, high)
            numbers = layout.passage[at].astype(np.int64) + shard.first_passage
            columns = (ticket[chosen], numbers, layout.document[at], layout.place[at], at - low, tokens, shown, ~split)
            parts += zip(*columns, strict=True)
        rows = sorted(
            {row[6]: row for row in sorted(parts, key=lambda row: int(row[0]))[:wanted]}.values(), key=_number
        )
        _, passage, document, place, peak, texts, hashes, test = zip(*rows, strict=True)
        return cls(
            passage=np.array(passage, np.int64),
            document=np.array(document, np.int64),
            place=np.array(place, np.int64),
            peak=np.array(peak, np.int64),
            tokens=list(texts),
            hash=np.array(hashes, np.uint64),
            test=np.array(test, np.bool_),
        )


def _number(row: tuple[Any, ...]) -> int:
    return int(row[1])


def inactive_columns(block: Block, sample: Sample, config: AtlasConfig) -> dict[str, Any]:
    """Return rows of the example table, of kind "inactive": passages on which a latent that is ever active is 0.

    None where a latent has more activations than fit in memory: nobody knows then where it is 0.
    """
    alive = np.flatnonzero(np.diff(block.first)) if block.share == 1.0 else np.zeros(0, np.int64)
    at = np.searchsorted(sample.passage, block.passage)
    hit = sample.passage[np.minimum(at, len(sample.passage) - 1)] == block.passage
    free = np.ones((block.high - block.low, len(sample.passage)), np.bool_)
    free[block.latent[hit], at[hit]] = False
    row, which = np.nonzero(free[alive])
    row = alive[row]
    order = np.lexsort((mix(mix((row + block.low).astype(np.uint64)) ^ sample.hash[which]), row))
    order = order[ranks(row[order]) < (config.inactive or 0)]
    row, which = row[order], which[order]
    length = np.array([len(sample.tokens[one]) for one in which], np.int64)
    none = np.zeros(0, np.int32)
    return {
        "latent": (row + block.low).astype(np.int32),
        "kind": ["inactive"] * len(row),
        "rank": ranks(row).astype(np.int16),
        "document": sample.document[which],
        "position": sample.place[which].astype(np.int32),
        "peak": sample.peak[which].astype(np.int16),
        "token_ids": lists(np.concatenate([none, *(sample.tokens[one] for one in which)]), length),
        "activations": lists(np.zeros(int(length.sum()), np.float32), length),
        "maximum": np.zeros(len(row), np.float32),
        "passage_hash": hexadecimal(sample.hash[which]),
        "test": sample.test[which],
    }
