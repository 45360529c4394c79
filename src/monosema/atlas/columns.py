"""Results of the stations of an atlas as columns of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosema.atlas.blocks import Block
from monosema.atlas.code_shards import CodeShards
from monosema.atlas.config import AtlasConfig
from monosema.atlas.effects import Effects
from monosema.atlas.neighbours import Neighbours
from monosema.atlas.passages import QUANTILES, Examples
from monosema.atlas.statistics import Statistics
from monosema.core.groups import ramps

_KINDS = (*(f"q{i}" for i in range(QUANTILES)), "top")


def feature_columns(
    low: int,
    high: int,
    statistics: Statistics,
    top: NDArray[np.int64],
    share: NDArray[np.float32],
    effects: Effects | None,
) -> dict[str, Any]:
    """Make rows of the feature table for the latents of a block; `top` and `share` are those of `top_tokens`."""
    part = slice(low, high)
    n_active, total = statistics.n_active[part], statistics.total[part]
    alive = n_active > 0
    present = top >= 0
    columns = {
        "latent": np.arange(low, high, dtype=np.int32),
        "alive": alive,
        "density": n_active / statistics.tokens,
        "n_active": n_active,
        "mean": (total / statistics.tokens).astype(np.float32),
        "mean_active": _nullable(np.divide(total, n_active, out=np.zeros(high - low), where=alive), alive),
        "max": statistics.maximum[part],
        "position_profile": _profiles(statistics, part),
        "top_token_ids": lists(top[present].astype(np.int32), present.sum(axis=1)),
        "top_token_shares": lists(share[present], present.sum(axis=1)),
    }
    for name in ("promoted", "suppressed"):
        tokens = np.zeros((high - low, 0), np.int64) if effects is None else getattr(effects, name)[part]
        logits = np.zeros((high - low, 0), np.float32) if effects is None else getattr(effects, f"{name}_logits")[part]
        columns[f"{name}_ids"] = fixed_lists(tokens.astype(np.int32))
        columns[f"{name}_logits"] = fixed_lists(logits)
    return columns


def histogram_columns(low: int, high: int, statistics: Statistics) -> dict[str, Any]:
    """Rows of the histogram table for the latents of a block that are ever active."""
    alive = np.flatnonzero(statistics.n_active[low:high]) + low
    return {
        "latent": alive.astype(np.int32),
        "low": np.zeros(len(alive), np.float32),
        "high": statistics.maximum[alive],
        "counts": fixed_lists(statistics.histogram[alive]),
    }


def example_columns(block: Block, examples: Examples, shards: CodeShards, config: AtlasConfig) -> dict[str, Any]:
    """Rows of the example table for the latents of a block."""
    import pyarrow as pa

    n = len(examples.peak)
    length = examples.stop - examples.start
    offsets = np.cumsum(length) - length
    token = np.zeros(int(length.sum()), np.int32)
    document, place = np.zeros(n, np.int64), np.zeros(n, np.int32)
    for shard in shards:
        base = shard.first_position
        inside = np.flatnonzero((examples.peak >= base) & (examples.peak < base + shard.positions))
        if not len(inside):
            continue
        layout = shard.layout
        document[inside] = layout.document[examples.peak[inside] - base]
        place[inside] = layout.place[examples.peak[inside] - base]
        within = ramps(length[inside])
        # source: positions in the shard of all tokens shown, passage after passage; within: their place in the passage
        source = np.repeat(examples.start[inside] - base, length[inside]) + within
        token[np.repeat(offsets[inside], length[inside]) + within] = layout.token[source]
    activations = _context_activations(block, examples, offsets, int(length.sum()), config)
    return {
        "latent": (examples.latent + block.low).astype(np.int32),
        "kind": pa.array(_KINDS).take(pa.array(examples.kind)),
        "rank": examples.rank.astype(np.int16),
        "document": document,
        "position": place,
        "peak": (examples.peak - examples.start).astype(np.int16),
        "token_ids": lists(token, length),
        "activations": lists(activations, length),
        "maximum": examples.strength,
        "passage_hash": hexadecimal(examples.hash),
        "test": ~block.train[examples.entry],
    }


def _context_activations(
    block: Block, examples: Examples, offsets: NDArray[np.int64], size: int, config: AtlasConfig
) -> NDArray[np.float32]:
    """The latent's activation at each token shown.

    Activations of one latent are sorted by position, so those in the context are at most `before` entries before the
    peak's and `after` entries behind it.
    """
    out = np.zeros(size, np.float32)
    for step in range(-config.before, config.after + 1):
        entry = examples.entry + step
        low, high = block.first[examples.latent], block.first[examples.latent + 1]
        inside = np.flatnonzero((entry >= low) & (entry < high))
        position = block.position[entry[inside]]
        shown = (position >= examples.start[inside]) & (position < examples.stop[inside])
        inside, position = inside[shown], position[shown]
        out[offsets[inside] + position - examples.start[inside]] = block.value[entry[inside]]
    return out


def neighbour_columns(kind: str, pairs: Neighbours) -> dict[str, Any]:
    """Rows of the neighbour table, of one kind."""
    return {
        "latent": pairs.latent,
        "kind": [kind] * len(pairs.latent),
        "rank": pairs.rank.astype(np.int16),
        "other": pairs.other,
        "value": pairs.value,
    }


def site_columns(shares: NDArray[np.floating], sites: Sequence[str]) -> dict[str, Any]:
    """Rows of the site table: of each latent its share at each site, latent by latent."""
    n, places = shares.shape
    return {
        "latent": np.repeat(np.arange(n, dtype=np.int32), places),
        "place": np.tile(np.arange(places, dtype=np.int16), n),
        "site": [*sites] * n,
        "share": shares.astype(np.float32).reshape(-1),
    }


def fixed_lists(rows: NDArray[Any]) -> Any:
    """Arrow lists of equal length from a matrix."""
    return lists(np.ascontiguousarray(rows).reshape(-1), np.full(len(rows), rows.shape[1]))


def lists(values: NDArray[Any], lengths: NDArray[np.integer]) -> Any:
    """Make Arrow lists of these lengths from all their values in a row."""
    import pyarrow as pa

    return pa.ListArray.from_arrays(_offsets(lengths), pa.array(values))


def _offsets(lengths: NDArray[np.integer]) -> Any:
    import pyarrow as pa

    return pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))


def _nullable(values: NDArray[Any], present: NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.array(values.astype(np.float32), mask=~present)


def _profiles(statistics: Statistics, part: slice) -> Any:
    """Density in each bucket of positions; null in a bucket without kept tokens."""
    import pyarrow as pa

    tokens = statistics.bucket_tokens
    density = statistics.profile[part] / np.maximum(tokens, 1)
    mask = np.tile(tokens == 0, len(density))
    values = pa.array(density.astype(np.float32).reshape(-1), mask=mask)
    return pa.ListArray.from_arrays(_offsets(np.full(len(density), len(tokens))), values)


def hexadecimal(hashes: NDArray[np.uint64]) -> list[str]:
    """Write hashes as text."""
    return [f"{value:016x}" for value in hashes.tolist()]
