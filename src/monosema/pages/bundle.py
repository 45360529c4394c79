"""An atlas bundled into blocks of text for one HTML file.

Three sorts of block (see `packing`): `index` holds columns that the list of features, its search and the map need;
`text` holds the shared text of all passages; `features-N` hold all else of GROUP features each and are opened only when
one of these is looked at. Activations are kept as 255 levels of their passage's maximum.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosema.atlas import Atlas, open_atlas
from monosema.circuits.of_latent import places_of
from monosema.circuits.shown import ShownGraph
from monosema.core import FormatError
from monosema.interpretation.causes import all_kept_causes
from monosema.items import Items
from monosema.pages.features import LEVELS, MEASURED, Histograms
from monosema.pages.items import items_block
from monosema.pages.packing import SharedText, pack, share_text, smallest_uint
from monosema.pages.scored import LABELS, Scored, scored
from monosema.pages.tables import (
    KINDS,
    Passages,
    Ragged,
    Vocabulary,
    column,
    crosscoder_sides,
    known_rows,
    ragged,
    read_passages,
    read_table,
)

GROUP = 64
_LEAST_BYTES = 12
"""A passage takes at least about so many bytes of a block, so more are never read than could fit."""
_AMOUNTS = ((20, 5), (15, 3), (12, 2), (10, 1), (6, 1), (4, 0), (2, 0))
"""(top passages, passages of each quantile) of each feature, from most to fewest."""


@dataclass(frozen=True)
class ReportBundle:
    """An atlas in blocks, and its facts for the page's text and charts.

    Attributes:
        blocks: block text by name: index, text, features-0, features-1, …; none of an `overview`.
        columns: by name alive, density, max, label_score, label_control, label_margin (how far it stands above its
            controls) and, of a crosscoder, share of each latent; NaN where there is none.
        n_passages: passages in the bundle.
        passages_per_feature: (top passages, passages of each quantile) of each feature.
        complete: whether these are all that the atlas has.
        text_tokens: tokens of the text that the atlas was made on, where it says so.
        absent: parts the atlas does not have, and why.
        scorer: the scorer that labels are compared by.
        scored: how labels and all explanations do by each scorer, beside their controls; the labels' scorer first.
        explained: number of explanations.
        sides: the two sites or models of a crosscoder, which its latents are divided between.
    """

    blocks: dict[str, str]
    columns: dict[str, NDArray[Any]]
    n_passages: int
    passages_per_feature: tuple[int, int]
    complete: bool
    text_tokens: int | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    scorer: str = ""
    scored: Sequence[Scored] = ()
    explained: int = 0
    sides: tuple[str, str] | None = None

    @property
    def size(self) -> int:
        """Length of all blocks in bytes."""
        return sum(len(block) for block in self.blocks.values())

    @property
    def n_features(self) -> int:
        """Number of latents in the table."""
        return self.columns["alive"].size

    @property
    def n_alive(self) -> int:
        """Number of latents that fired."""
        return int(self.columns["alive"].sum())

    @property
    def labels(self) -> list[Scored]:
        """Scores of the labels by each scorer that is one of its own."""
        return [one for one in self.scored if one.method == LABELS and (one.own or one.scorer == self.scorer)]

    def known(self, name: str) -> NDArray[Any]:
        """Return a column without what is not known."""
        return self.columns[name][np.isfinite(self.columns[name])]


def overview(atlas: Atlas) -> ReportBundle:
    """Return an atlas's facts without its features: what a page says and draws of a run, at once."""
    return _overview(atlas, read_table(atlas, "features"))


def _overview(atlas: Atlas, features: Any) -> ReportBundle:
    sides, shares = crosscoder_sides(atlas)
    columns = {name: column(features, name, np.float32, np.nan) for name in MEASURED}
    columns |= {"alive": column(features, "alive", np.uint8), **({} if shares is None else {"share": shares})}
    return ReportBundle(
        {},
        columns,
        n_passages=atlas.meta["tables"]["examples"]["rows"],
        passages_per_feature=_AMOUNTS[0],
        complete=True,
        text_tokens=atlas.tokens,
        absent=atlas.absent,
        scorer=_scorer(features),
        scored=scored(atlas, _scorer(features)),
        explained=atlas.meta["tables"]["explanations"]["rows"],
        sides=sides,
    )


def bundle(
    atlas: Atlas | str | Path,
    limit_mb: float | int = 14.0,
    items: Items | None = None,
    circuits: Sequence[ShownGraph] = (),
) -> ReportBundle:
    """Bundle an atlas into blocks of about `limit_mb` MB at most, with fewer passages a feature where all don't fit.

    Args:
        atlas: an open atlas, or the path of its folder.
        limit_mb: aim for the size of all blocks; the smallest amount of passages is used whatever its size.
        items: what the tokens of the atlas are, where they are items.
        circuits: graphs in which features may have places.
    """
    atlas = atlas if isinstance(atlas, Atlas) else open_atlas(atlas)
    limit = limit_mb * 1e6
    amounts = [top + 10 * quantile for top, quantile in _AMOUNTS]
    last = len(amounts) - 1
    most = limit / _LEAST_BYTES / max(1, atlas.meta["tables"]["examples"]["rows"]) * amounts[0]
    rung = next((i for i, amount in enumerate(amounts) if amount <= most), last)
    while True:
        found = _bundle(atlas, *_AMOUNTS[rung], rung == 0, items, circuits)
        if found.size <= limit or rung == last:
            return found
        wanted = amounts[rung] * limit / found.size
        rung = next((i for i in range(rung + 1, last) if amounts[i] <= wanted), last)


def _bundle(
    atlas: Atlas, top: int, quantile: int, complete: bool, items: Items | None, circuits: Sequence[ShownGraph]
) -> ReportBundle:
    features = read_table(atlas, "features")
    latent = column(features, "latent", np.int64)
    if latent.size == 0:
        raise FormatError(f"{atlas.path} has no features. Build the atlas again with: monosema atlas RUN")
    vocabulary = Vocabulary(atlas.table("vocabulary")["text"].to_pylist())
    ids = {"top_tokens": "top_token_ids", "promoted": "promoted_ids", "suppressed": "suppressed_ids"}
    lists = {name: ragged(features, ids_of, vocabulary) for name, ids_of in ids.items()}
    for name in ("top_token_shares", "promoted_logits", "suppressed_logits", "position_profile"):
        lists[name] = ragged(features, name)
    passages = read_passages(atlas, latent, vocabulary, top, quantile)
    lengths = np.diff(passages.tokens.first)
    if not np.array_equal(lengths, np.diff(passages.activations.first)):
        raise FormatError(f"{atlas.file('examples')} has passages whose tokens and activations differ in number.")
    shared = share_text(passages.document, passages.position - passages.peak, lengths, passages.tokens.values)
    histograms = Histograms.read(atlas, latent)
    facts = _overview(atlas, features)
    about_items, absent = ("", atlas.absent) if items is None else items_block(items, passages)
    blocks = {
        "index": _index(features, lists, histograms, facts.columns, vocabulary, atlas.meta["position_buckets"]),
        "text": _text(shared),
        **({} if items is None else {"items": about_items}),
    }
    groups = np.split(np.arange(latent.size), range(GROUP, latent.size, GROUP))
    tables: dict[str, Any] = {"lists": lists, "histograms": histograms, "passages": passages, "offsets": shared.offsets}
    make = functools.partial(_group, latent=latent, sections=_Sections(atlas, latent, circuits), **tables)
    # Compressing releases the interpreter, so a second thread prepares the next group meanwhile.
    with ThreadPoolExecutor(2) as pool:
        for number, block in enumerate(pool.map(make, groups)):
            blocks[f"features-{number}"] = block
    return replace(
        facts,
        blocks=blocks,
        n_passages=int(passages.latent.size),
        passages_per_feature=(top, quantile),
        complete=complete,
        absent=absent,
    )


def _index(
    features: Any,
    lists: dict[str, Ragged],
    histograms: Histograms,
    columns: Mapping[str, NDArray[Any]],
    vocabulary: Vocabulary,
    buckets: list[list[int]],
) -> str:
    """Return the block that the list of features reads, of all features."""
    labels = [text or "" for text in features["label"].to_pylist()]
    makers = {kind: features[f"label_{kind}"].to_pylist() for kind in ("method", "author")}
    names = {kind: sorted({name or "" for name in found}) for kind, found in makers.items()}
    arrays: dict[str, NDArray[Any]] = {
        "latent": column(features, "latent", np.uint32),
        "n_active": column(features, "n_active", np.uint32),
        **{kind: _numbers(found, names[kind]) for kind, found in makers.items()},
        "spark": histograms.spark.reshape(-1),
        **columns,
    }
    for name in ("top_tokens", "promoted"):
        arrays |= _ragged_arrays(name, lists[name])
    arrays["top_shares"] = np.clip(np.round(LEVELS * lists["top_token_shares"].values), 0, LEVELS).astype(np.uint8)
    extra = {"labels": labels, "methods": names["method"], "authors": names["author"], "scorer": _scorer(features)}
    sizes = {"bins": histograms.counts.shape[1], "group": GROUP}
    return pack(arrays, extra | sizes | {"words": vocabulary.words, "buckets": buckets})


def _scorer(features: Any) -> str:
    """Return the scorer that labels are compared by: one for the whole atlas."""
    return next((name for name in features["label_scorer"].to_pylist() if name), "")


def _numbers(found: list[str | None], names: list[str]) -> NDArray[Any]:
    """Return the index in `names` of each name found."""
    place = {name: number for number, name in enumerate(names)}
    return smallest_uint(np.array([place[name or ""] for name in found]))


def _text(shared: SharedText) -> str:
    return pack(
        {
            "tokens": smallest_uint(shared.tokens),
            "span_first": shared.span_first.astype(np.uint32),
            "span_document": shared.span_document.astype(np.float64),
            "span_position": shared.span_position.astype(np.int32),
        }
    )


def _group(
    rows: NDArray[np.int64],
    *,
    latent: NDArray[np.int64],
    lists: dict[str, Ragged],
    histograms: Histograms,
    passages: Passages,
    offsets: NDArray[np.int64],
    sections: _Sections,
) -> str:
    arrays: dict[str, NDArray[Any]] = {"latent": latent[rows].astype(np.uint32)}
    for name, lists_of in lists.items():
        arrays |= _ragged_arrays(name, lists_of.take(rows))
    arrays["low"] = histograms.low[rows]
    arrays["high"] = histograms.high[rows]
    arrays["counts"] = smallest_uint(histograms.counts[rows].reshape(-1))
    begin, end = np.searchsorted(passages.latent, [latent[rows[0]], latent[rows[-1]] + 1])
    part = np.arange(begin, end)
    arrays["passage_first"] = np.searchsorted(passages.latent[part], [*latent[rows], latent[rows[-1]] + 1]).astype(
        np.uint32
    )
    tokens, activations = passages.tokens, passages.activations.take(part)
    lengths = np.diff(tokens.first)[part]
    arrays["kind"] = passages.kind[part].astype(np.uint8)
    arrays["offset"] = offsets[part].astype(np.uint32)
    arrays["length"] = smallest_uint(lengths)
    arrays["peak"] = smallest_uint(passages.peak[part])
    arrays["maximum"] = passages.maximum[part]
    arrays |= _levels(activations, passages.maximum[part])
    arrays |= sections.neighbours(latent[rows])
    return pack(arrays, {"kinds": KINDS, **sections.words(latent[rows])}, level=7)


def _levels(activations: Ragged, maximum: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Return activations above 0 only: number in each passage, place in it, and level of its maximum."""
    # (values,): the passage that each activation belongs to, and its place within it.
    lengths = np.diff(activations.first)
    owner = np.repeat(np.arange(lengths.size), lengths)
    within = np.arange(owner.size) - np.repeat(activations.first[:-1], lengths)
    on = activations.values > 0
    scale = np.where(maximum > 0, maximum, 1)[owner[on]]
    level = np.clip(np.round(activations.values[on] / scale * LEVELS), 1, LEVELS)
    return {
        "on_count": smallest_uint(np.bincount(owner[on], minlength=lengths.size)),
        "on_place": smallest_uint(within[on]),
        "on_level": level.astype(np.uint8),
    }


def _ragged_arrays(name: str, lists: Ragged) -> dict[str, NDArray[Any]]:
    values = lists.values
    values = smallest_uint(values) if values.dtype.kind in "iu" else values.astype(np.float32)
    return {f"{name}_first": lists.first.astype(np.uint32), name: values}


_WORDS = ("explanations", "scores", "votes")


class _Sections:
    """Small tables of an atlas, cut by feature: neighbours, explanations, scores, votes, causes, places in circuits."""

    def __init__(self, atlas: Atlas, latent: NDArray[np.int64], circuits: Sequence[ShownGraph]) -> None:
        self._causes = {judged.own.latent: judged.to_dict() for judged in all_kept_causes(atlas)}
        self._circuits = {graph.title: graph for graph in circuits}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._at: dict[str, NDArray[np.int64]] = {}
        for name in _WORDS:
            table = read_table(atlas, name).sort_by("latent")
            self._at[name] = column(table, "latent", np.int64)
            self._rows[name] = _plain_rows(table.drop_columns(list({"latent", "program"} & set(table.column_names))))
        self._near = {kind: _neighbours(atlas, kind, latent) for kind in ("decoder", "coactivation")}

    def neighbours(self, latents: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return decoder neighbours and co-active latents, nearest first, as ragged columns."""
        arrays: dict[str, NDArray[Any]] = {}
        for kind, (latent, other, value) in self._near.items():
            begin, end = np.searchsorted(latent, [latents[0], latents[-1] + 1])
            first = np.searchsorted(latent[begin:end], [*latents, latents[-1] + 1])
            arrays[f"{kind}_first"] = first.astype(np.uint32)
            arrays[f"{kind}_other"] = other[begin:end].astype(np.uint32)
            arrays[f"{kind}_value"] = value[begin:end]
        return arrays

    def _of(self, name: str, latents: NDArray[np.int64]) -> Iterator[list[dict[str, Any]]]:
        begin = np.searchsorted(self._at[name], latents, "left")
        end = np.searchsorted(self._at[name], latents, "right")
        for first, last in zip(begin, end, strict=True):
            yield self._rows[name][first:last]

    def words(self, latents: NDArray[np.int64]) -> dict[str, Any]:
        """Return explanations, scores and votes, as lists of plain rows for each latent; causes, null where they were
        not measured, and places in circuits."""
        causes = [self._causes.get(latent) for latent in latents.tolist()]
        places = [[asdict(one) for one in places_of(latent, self._circuits)] for latent in latents.tolist()]
        return {**{name: list(self._of(name, latents)) for name in _WORDS}, "causes": causes, "circuits": places}


def _neighbours(
    atlas: Atlas, kind: str, known: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return latent, other and value of one kind of neighbours, sorted by latent and rank."""
    import pyarrow.compute as pc

    table = known_rows(read_table(atlas, "neighbours", pc.field("kind") == kind), known)
    latent = column(table, "latent", np.int64)
    order = np.lexsort((column(table, "rank", np.int64), latent))
    return latent[order], column(table, "other", np.int64)[order], column(table, "value", np.float32)[order]


def _plain_rows(table: Any) -> list[dict[str, Any]]:
    """Return rows as JSON can hold them: without null, not-a-number and infinity."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, entry in enumerate(table.schema):
        if pa.types.is_floating(entry.type):
            known = pc.if_else(pc.is_finite(table[entry.name]), table[entry.name], None)
            table = table.set_column(place, entry, known)
    return [{key: value for key, value in row.items() if value is not None} for row in table.to_pylist()]
