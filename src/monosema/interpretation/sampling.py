"""Drawing of the passages on which latents are explained and scored.

Strong passages and those of each tenth come from the atlas; random activating ones and inactive ones come from a pool
of passages of other text, as long as the atlas's. Near negatives are passages on which a latent is inactive and one of
its neighbours is active: the nearest by decoder cosine, or those that fire together with it most. A passage's split is
decided by its hash alone; of passages with the same tokens a latent keeps one, so none is in both splits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from pydantic import Field

from monosema.atlas import Atlas
from monosema.atlas.layout import mix
from monosema.core import Config, Progress, progress_bar
from monosema.core.groups import ranks
from monosema.data import TokenBatch
from monosema.interpretation.pool import Pool, read_pool
from monosema.interpretation.protocol import Subject
from monosema.interpretation.samples import KINDS, Samples

_CELLS = 4_194_304
_RANDOM, _INACTIVE = KINDS.index("random"), KINDS.index("inactive")
_NEAR = (("decoder", KINDS.index("inactive near decoder")), ("coactivation", KINDS.index("inactive near firing")))


class SampleConfig(Config):
    """Numbers of passages of each kind."""

    random: int = Field(10, ge=0)
    """Random activating passages of each split."""
    inactive: int = Field(20, ge=0)
    """Inactive passages of each split, drawn at random."""
    near: int = Field(10, ge=0)
    """Inactive passages of each split on which a near latent is active: so many near by decoder, so many by firing."""
    tokens: int = Field(100_000, ge=1)
    """Tokens of text that random and inactive passages are drawn from."""
    least: int = Field(8, ge=1)
    """Least tokens of a passage of that text."""
    memory_mb: int = Field(512, ge=1)
    """Memory for the codes of that text; it ends early where they fill it."""
    seed: int = 0
    """Decides the draws."""


@dataclass(frozen=True)
class _Entries:
    """Entries in the making: row of the latent, kind, side, and the passage with its activations."""

    row: NDArray[np.int64]
    kind: NDArray[np.int64]
    test: NDArray[np.bool_]
    hash: NDArray[np.uint64]
    ids: NDArray[np.int32]
    activations: NDArray[np.float32]


def pool_of(subject: Subject, batches: Iterable[TokenBatch], config: SampleConfig) -> Pool:
    """Read the pool for an atlas's latents, with passages as long as its examples."""
    atlas = subject.atlas
    cut = atlas.meta["config"]
    width = cut["before"] + 1 + cut["after"]
    least = min(config.least, width)
    of_items = subject.model.context == 1
    total = min(config.tokens, subject.model.vocab) if of_items else config.tokens
    with progress_bar("read", total, "items" if of_items else "tokens") as bar:
        counted = _counted(batches, bar)
        return read_pool(subject.model, subject.dictionary, atlas.site, counted, width, least, config.memory_mb)


def _counted(batches: Iterable[TokenBatch], bar: Progress) -> Iterator[TokenBatch]:
    for batch in batches:
        yield batch
        bar.advance(int(batch.keep.sum()))


def draw_samples(
    subject: Subject,
    batches: Iterable[TokenBatch] | Pool,
    config: SampleConfig | None = None,
    latents: Sequence[int] | NDArray[np.integer] | None = None,
) -> Samples:
    """Draw passages of both splits for latents.

    Memory is bounded by the pool's codes and by the passages drawn; where there are very many latents, draw for some
    of them after the others, from one pool.

    Args:
        subject: the latents, their model, and their atlas.
        batches: text that the atlas was not made from, or a pool that `pool_of` read from it.
        config: numbers of passages.
        latents: None for all that are alive.

    Raises:
        CorpusError: the text is empty.
    """
    config = config or SampleConfig()
    atlas = subject.atlas
    pool = batches if isinstance(batches, Pool) else pool_of(subject, batches, config)
    chosen = latents_of(atlas) if latents is None else np.unique(np.asarray(latents, np.int64))
    parts = [
        _from_atlas(atlas, chosen, pool.width),
        _random_active(pool, chosen, config),
        *_inactive(atlas, pool, chosen, config),
    ]
    maxima = atlas.sql(
        "select latent, max from features where list_contains(?, latent) order by latent", [chosen.tolist()]
    )
    entries = _together(parts, pool.width)
    return _joined(entries, chosen, np.array([row["max"] for row in maxima], np.float32))


def latents_of(atlas: Atlas, most: int | None = None, seed: int = 0) -> Int[np.ndarray, " latents"]:
    """Return the latents that are alive, ascending; at most `most`, drawn by a hash of their number."""
    rows = atlas.sql("select latent from features where alive order by latent")
    latents = np.array([row["latent"] for row in rows], np.int64)
    if most is None or len(latents) <= most:
        return latents
    return np.sort(latents[np.argsort(mix(latents.astype(np.uint64) ^ _salt(seed)), kind="stable")[:most]])


def too_few(samples: Samples, minimum: int = 20) -> Int[np.ndarray, " latents"]:
    """Return the latents with fewer distinct activating passages than `minimum`, both splits together."""
    count = np.bincount(samples.row[samples.active], minlength=len(samples.latents))
    return samples.latents[count < minimum]


def _salt(seed: int) -> np.uint64:
    return mix(np.array([seed % 2**64], np.uint64))[0]


def _from_atlas(atlas: Atlas, latents: NDArray[np.int64], width: int) -> _Entries:
    """Read the atlas's examples."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = ["latent", "kind", "token_ids", "activations", "passage_hash", "test"]
    parts: list[_Entries] = []
    for batch in pq.ParquetFile(atlas.file("examples")).iter_batches(batch_size=8192, columns=columns):
        batch = batch.filter(pc.is_in(batch["latent"], value_set=pa.array(latents.astype(np.int32))))
        length = pc.list_value_length(batch["token_ids"]).to_numpy(zero_copy_only=False)
        shape = (len(batch), width)
        ids, activations = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
        inside = np.arange(width) < length[:, None]
        ids[inside] = batch["token_ids"].flatten().to_numpy(zero_copy_only=False)
        activations[inside] = batch["activations"].flatten().to_numpy(zero_copy_only=False)
        kinds = pc.index_in(batch["kind"], value_set=pa.array(KINDS)).to_numpy(zero_copy_only=False).astype(np.int64)
        parts.append(
            _Entries(
                row=np.searchsorted(latents, batch["latent"].to_numpy()),
                kind=kinds,
                test=batch["test"].to_numpy(zero_copy_only=False),
                hash=np.array([int(text, 16) for text in batch["passage_hash"].to_pylist()], np.uint64),
                ids=ids,
                activations=activations,
            )
        )
    return _together(parts, width)


def _random_active(pool: Pool, latents: NDArray[np.int64], config: SampleConfig) -> _Entries:
    """Activating passages of the pool, so many of each latent and side, drawn by a hash."""
    row, entry = pool.entries_of(latents)
    passage = pool.slot[entry] // pool.width
    begins = np.append(True, (row[1:] != row[:-1]) | (passage[1:] != passage[:-1]))[: len(row)]
    row, passage = row[begins], passage[begins]
    ticket = mix(mix(latents[row].astype(np.uint64) ^ _salt(config.seed)) ^ pool.hashes[passage])
    order = np.lexsort((ticket, pool.test[passage], row))
    rank = ranks(row[order] * 2 + pool.test[passage[order]])
    chosen = order[rank < config.random]
    return _from_pool(pool, latents, row[chosen], passage[chosen], np.full(len(chosen), _RANDOM))


def _inactive(atlas: Atlas, pool: Pool, latents: NDArray[np.int64], config: SampleConfig) -> Iterable[_Entries]:
    """Draw passages on which each latent is 0 everywhere; near ones first, so that random ones leave them out."""
    near = {kind: _neighbours(atlas, kind, latents) for kind, _ in _NEAR}
    step = max(1, _CELLS // len(pool.ids))
    for low in range(0, len(latents), step):
        block = latents[low : low + step]
        free = ~pool.active(block)
        ticket = mix(mix(block.astype(np.uint64) ^ _salt(config.seed + 1))[:, None] ^ pool.hashes)
        for kind, number, wanted in (*((*pair, config.near) for pair in _NEAR), (None, _INACTIVE, config.inactive)):
            allowed = free if kind is None else free & _any_active(pool, near[kind], low, len(block))
            row, passage = _lowest(np.where(allowed, ticket, np.iinfo(np.uint64).max), allowed, pool.test, wanted)
            free[row, passage] = False
            yield _from_pool(pool, latents, row + low, passage, np.full(len(row), number))


def _neighbours(atlas: Atlas, kind: str, latents: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return near latents: row of the latent, ascending, and the other latent."""
    rows = atlas.sql(
        "select latent, other from neighbours where kind = ? and value > 0 and list_contains(?, latent) "
        "order by latent, rank",
        [kind, latents.tolist()],
    )
    pairs = np.array([(row["latent"], row["other"]) for row in rows], np.int64).reshape(-1, 2)
    return np.searchsorted(latents, pairs[:, 0]), pairs[:, 1]


def _any_active(
    pool: Pool, near: tuple[NDArray[np.int64], NDArray[np.int64]], low: int, size: int
) -> NDArray[np.bool_]:
    """Return a mask of passages on which a near latent is active, for the latents from `low` on."""
    row, other = near
    part = slice(*np.searchsorted(row, [low, low + size]))
    pair, entry = pool.entries_of(other[part])
    out = np.zeros((size, len(pool.ids)), np.bool_)
    out[(row[part] - low)[pair], pool.slot[entry] // pool.width] = True
    return out


def _lowest(
    ticket: NDArray[np.uint64], allowed: NDArray[np.bool_], test: NDArray[np.bool_], wanted: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the allowed passages with the lowest tickets, so many of each split."""
    rows, columns = [], []
    for side in (False, True):
        there = np.flatnonzero(test == side)
        k = min(wanted, len(there))
        if k == 0:
            continue
        mine = ticket[:, there]
        best = np.argpartition(mine, k - 1, axis=1)[:, :k]
        row, place = np.nonzero(np.take_along_axis(allowed[:, there], best, axis=1))
        rows.append(row)
        columns.append(there[best[row, place]])
    empty = np.zeros(0, np.int64)
    return np.concatenate([empty, *rows]), np.concatenate([empty, *columns])


def _from_pool(
    pool: Pool, latents: NDArray[np.int64], row: NDArray[np.int64], passage: NDArray[np.int64], kind: NDArray[np.int64]
) -> _Entries:
    """Return entries of the pool's passages, with the latent's activations on them."""
    activations = np.zeros((len(row), pool.width), np.float32)
    if len(kind) and kind[0] < _INACTIVE:
        key = row * len(pool.ids) + passage
        order = np.argsort(key, kind="stable")
        owner, entry = pool.entries_of(latents)
        at, column = np.divmod(pool.slot[entry], pool.width)
        wanted = owner * len(pool.ids) + at
        place = np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)
        hit = key[order][place] == wanted
        activations[order[place[hit]], column[hit]] = pool.value[entry[hit]]
    return _Entries(row, kind, pool.test[passage], pool.hashes[passage], pool.ids[passage], activations)


def _together(parts: Sequence[_Entries], width: int) -> _Entries:
    none = np.zeros((0, width), np.int32)
    empty = _Entries(
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        np.zeros(0, np.bool_),
        np.zeros(0, np.uint64),
        none,
        none.astype(np.float32),
    )
    names = _Entries.__dataclass_fields__
    return _Entries(**{name: np.concatenate([getattr(part, name) for part in (empty, *parts)]) for name in names})


def _joined(entries: _Entries, latents: NDArray[np.int64], maximum: NDArray[np.float32]) -> Samples:
    """Sort entries by latent; of entries of a latent with the same tokens a random one stays, or else the first."""
    order = np.lexsort((np.arange(len(entries.row)), entries.kind != _RANDOM, entries.hash, entries.row))
    same = (entries.row[order][1:] == entries.row[order][:-1]) & (entries.hash[order][1:] == entries.hash[order][:-1])
    kept = np.sort(order[np.append(True, ~same)[: len(order)]])
    kept = kept[np.argsort(entries.row[kept], kind="stable")]
    hashes, sample, passage = np.unique(entries.hash[kept], return_index=True, return_inverse=True)
    return Samples(
        ids=entries.ids[kept[sample]],
        hashes=hashes,
        latents=latents,
        maximum=maximum,
        first=np.searchsorted(entries.row[kept], np.arange(len(latents) + 1)),
        passage=passage.reshape(-1),
        kind=entries.kind[kept],
        test=entries.test[kept],
        activations=entries.activations[kept],
    )
