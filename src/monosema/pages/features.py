"""Features as plain values: what a list shows of each, and all that the page of one shows.

The objects are those that `static/data.js` makes of a report's blocks, so that one renderer draws both. An atlas's
small tables are held in memory as columns; passages, by far the most of it, are read from the file when asked for.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosema.atlas import Atlas
from monosema.core import InputError
from monosema.pages.tables import (
    KINDS,
    Ragged,
    column,
    crosscoder_sides,
    plain,
    ragged,
    read_table,
    rows_of,
    stored_table,
)

LEVELS = 255
"""Steps of a passage's maximum that its activations are rounded to."""
MEASURED = (
    *("density", "mean", "mean_active", "max"),
    *(f"label_{name}" for name in ("score", "low", "high", "control", "random", "margin")),
)
"""Columns of numbers; not-a-number where there is none."""
LONGEST = 100
"""Characters of a token that a list shows."""
LONGEST_TEXT = 1000
"""Characters of a label in a list, and of a token anywhere: hundreds of passages hold it again and again."""
_MAKERS = ("method", "author", "scorer")
_OF_LABELS = ("label", *(f"label_{kind}" for kind in _MAKERS), *(one for one in MEASURED if one.startswith("label_")))
SHOWN = 5
"""Tokens of a feature that a list shows."""
_IDS = {"top_tokens": "top_token_ids", "promoted": "promoted_ids", "suppressed": "suppressed_ids"}
_WEIGHTS = {"top_tokens": "top_token_shares", "promoted": "promoted_logits", "suppressed": "suppressed_logits"}
_JUDGED = ("explanations", "scores", "votes")
_NEAR = ("decoder", "coactivation")
_OPEN_GROUPS = 8
_OF_PASSAGES = ("latent", "kind", "rank", "document", "position", "peak", "token_ids", "activations", "maximum")


@dataclass(frozen=True)
class Histograms:
    """Tokens by activation, one row a feature; zeros where there is none.

    Attributes:
        low, high: ends of the bins, shape (n,).
        counts: shape (n, bins).
        spark: heights on a logarithmic scale, 0 to 255, shape (n, bins).
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    counts: NDArray[np.uint32]
    spark: NDArray[np.uint8]

    @classmethod
    def read(cls, atlas: Atlas, latent: NDArray[np.int64], bins: int = 32) -> Histograms:
        """Read the histograms of these latents, which are sorted."""
        table = read_table(atlas, "histograms")
        low, high = np.zeros(latent.size, np.float32), np.zeros(latent.size, np.float32)
        lists = ragged(table, "counts")
        lengths = np.diff(lists.first)
        counts = np.zeros((latent.size, int(lengths.max(initial=0)) or bins), np.uint32)
        if table.num_rows:
            found = column(table, "latent", np.int64)
            known = np.isin(found, latent)
            rows = np.searchsorted(latent, found)
            low[rows[known]] = column(table, "low", np.float32)[known]
            high[rows[known]] = column(table, "high", np.float32)[known]
            within = np.arange(lists.values.size) - np.repeat(lists.first[:-1], lengths)
            kept = np.repeat(known, lengths)
            counts[np.repeat(rows, lengths)[kept], within[kept]] = lists.values[kept]
        return cls(low, high, counts, sparks(counts))


def sparks(counts: NDArray[Any]) -> NDArray[np.uint8]:
    """Return heights of histograms (n, bins) on a logarithmic scale, each one's tallest bin 255."""
    heights = np.log1p(counts.astype(np.float32))
    tallest = np.maximum(heights.max(axis=1, keepdims=True, initial=0), np.log1p(np.float32(1)))
    return np.round(heights / tallest * LEVELS).astype(np.uint8)


class Judgements:
    """Explanations, scores and votes of features, cut by feature."""

    def __init__(self, atlas: Atlas) -> None:
        self._tables: dict[str, Any] = {}
        self._at: dict[str, NDArray[np.int64]] = {}
        for name in _JUDGED:
            table = read_table(atlas, name).sort_by("latent")
            self._at[name] = column(table, "latent", np.int64)
            table = table.drop_columns(list({"latent", "program"} & set(table.column_names)))
            self._tables[name] = table.combine_chunks()

    def of(self, name: str, latent: int) -> list[dict[str, Any]]:
        """Return a feature's rows of one table as JSON can hold them: without null, not-a-number and infinity."""
        first, last = np.searchsorted(self._at[name], [latent, latent + 1])
        rows = self._tables[name].slice(first, last - first).to_pylist()
        return [{key: value for key, value in row.items() if _known(value)} for row in rows]

    def texts(self) -> tuple[NDArray[np.int64], list[str]]:
        """Return latents and texts of all explanations, by latent."""
        return self._at["explanations"], self._tables["explanations"]["text"].to_pylist()


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


class Neighbours:
    """Near features, cut by feature, the nearest first."""

    def __init__(self, atlas: Atlas) -> None:
        table = read_table(atlas, "neighbours")
        self._near = {}
        for kind in _NEAR:
            part = rows_of(table, "kind", kind)
            latent = column(part, "latent", np.int32)
            order = np.lexsort((column(part, "rank", np.int32), latent))
            other, value = column(part, "other", np.int32), column(part, "value", np.float32)
            self._near[kind] = latent[order], other[order], value[order]

    def of(self, latent: int) -> dict[str, list[dict[str, Any]]]:
        """Return other latents and how near they are, by kind."""
        found = {}
        for kind, (latents, other, value) in self._near.items():
            first, last = np.searchsorted(latents, [latent, latent + 1])
            pairs = zip(other[first:last].tolist(), value[first:last].tolist(), strict=True)
            found[kind] = [{"other": one, "value": near} for one, near in pairs]
        return found


class PassageFile:
    """The passages of an atlas, read by groups of rows of its file, the last ones of which stay in memory."""

    def __init__(self, atlas: Atlas) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(atlas.file("examples"))
        meta = self._file.metadata
        place = self._file.schema_arrow.get_field_index("latent")
        stats = [meta.row_group(i).column(place).statistics for i in range(meta.num_row_groups)]
        self._first = [one.min for one in stats]
        self._last = [one.max for one in stats]
        self._group = lru_cache(_OPEN_GROUPS)(self._read)
        self._lock = Lock()

    def _read(self, number: int) -> tuple[NDArray[np.int64], Any]:
        with self._lock:  # two threads that read by one open file end the process
            table = self._file.read_row_group(number, columns=_OF_PASSAGES, use_threads=False)
        return column(table, "latent", np.int64), table.combine_chunks()

    def of(self, latent: int) -> list[dict[str, Any]]:
        """Return a feature's passages, by kind as a page shows them, and rank: ids of tokens, rounded activations."""
        rows: list[dict[str, Any]] = []
        # Groups are sorted by latent, so those that may hold it are neighbours.
        for number in range(bisect.bisect_left(self._last, latent), bisect.bisect_right(self._first, latent)):
            latents, table = self._group(number)
            first, last = np.searchsorted(latents, [latent, latent + 1])
            rows += _passages(table.slice(first, last - first))
        return sorted(rows, key=lambda row: (KINDS.index(row["kind"]), row["rank"]))


def _passages(table: Any) -> list[dict[str, Any]]:
    """Return rows of the table of passages, with all activations rounded at once."""
    lists = ragged(table, "activations")
    maxima = np.repeat(column(table, "maximum", np.float32), np.diff(lists.first))
    values = rounded(lists.values, maxima).tolist()
    rows: list[dict[str, Any]] = table.drop_columns(["latent", "activations"]).to_pylist()
    ends = lists.first.tolist()
    return [{**row, "activations": values[ends[at] : ends[at + 1]]} for at, row in enumerate(rows)]


class FeatureTables:
    """All features of an atlas, as it was when they were read.

    Attributes:
        state: the atlas's state.
        latent: their numbers, sorted.
        alive: whether each ever fired.
        n_active: tokens on which each did.
        columns: numbers by name, `MEASURED` and of a crosscoder `share`.
        labels: "" where there is none.
        methods, authors, scorers: of the labels.
        lists: ids of tokens by name, top_tokens, promoted and suppressed.
        weights: their shares or logits.
        words: text of each token id.
        sides: the two sides of a crosscoder.
        buckets: positions of each value of a position profile.
    """

    def __init__(self, atlas: Atlas) -> None:

        self.state = atlas.state
        named = atlas.table("features", ["latent", *_OF_LABELS])
        table = stored_table(atlas, "features").sort_by("latent")
        self.latent = column(table, "latent", np.int64)
        self.alive = column(table, "alive", np.bool_)
        self.n_active = column(table, "n_active", np.int64)
        self.columns = {
            name: column(named if name in named.column_names else table, name, np.float32, np.nan) for name in MEASURED
        }
        self.sides, shares = crosscoder_sides(atlas)
        if shares is not None:
            self.columns["share"] = shares
        self.labels = [text or "" for text in named["label"].to_pylist()]
        self.methods, self.authors, self.scorers = (Names(named[f"label_{kind}"]) for kind in _MAKERS)
        self.lists = {name: _small(ragged(table, ids), np.int32) for name, ids in _IDS.items()}
        self.weights = {name: _small(ragged(table, values), np.float32) for name, values in _WEIGHTS.items()}
        self.profile = _small(ragged(table, "position_profile"), np.float32)
        self.words = [_short(text, LONGEST_TEXT) for text in atlas.table("vocabulary")["text"].to_pylist()]
        self.histograms = Histograms.read(atlas, self.latent)
        self.judgements = Judgements(atlas)
        self.buckets = atlas.position_buckets
        self._neighbours = Neighbours(atlas)
        self._passages = PassageFile(atlas)

    def __len__(self) -> int:
        return self.latent.size

    def row_of(self, latent: int) -> int:
        """Return the row of a latent. Raises InputError where there is none."""
        row = int(np.searchsorted(self.latent, latent))
        if row == len(self) or self.latent[row] != latent:
            raise InputError(f"There is no feature {latent}: this atlas has {self.latent[0]} to {self.latent[-1]}.")
        return row

    def brief(self, row: int) -> dict[str, Any]:
        """Return what the head of a feature's page, and its line in a list, show."""
        numbers = {name: _or_none(values[row]) for name, values in self.columns.items()}
        return {
            "latent": int(self.latent[row]),
            "alive": bool(self.alive[row]),
            "n_active": int(self.n_active[row]),
            **numbers,
            "label": self.labels[row],
            "label_author": self.authors[row],
            "label_method": self.methods[row],
            "label_scorer": "" if numbers["label_score"] is None else self.scorer,
        }

    @property
    def scorer(self) -> str:
        """The scorer that labels are compared by: one for the whole atlas."""
        return next((name for name in self.scorers.names if name), "")

    def tokens(self, name: str, row: int, most: int = SHOWN) -> list[str]:
        """Return texts of the first of a feature's top, promoted or suppressed tokens."""
        return [self.words[id] for id in _cut(self.lists[name], row)[:most].tolist()]

    def line(self, row: int) -> dict[str, Any]:
        """Return a feature's line in a list."""
        tokens = {name: [_short(text) for text in self.tokens(name, row)] for name in ("top_tokens", "promoted")}
        label = _short(self.labels[row], LONGEST_TEXT)
        return {**self.brief(row), "label": label, **tokens, "spark": self.histograms.spark[row].tolist()}

    def pairs(self, name: str, row: int) -> list[tuple[str, float | None]]:
        """Return texts and weights of a feature's top, promoted or suppressed tokens."""
        weights = _cut(self.weights[name], row).tolist()
        return list(zip(self.tokens(name, row, len(weights)), weights, strict=True))

    def feature(self, latent: int) -> dict[str, Any]:
        """Return a feature with all that its page shows. Raises InputError where there is none."""
        row = self.row_of(latent)
        histogram = self.histograms
        low, high = float(histogram.low[row]), float(histogram.high[row])
        return {
            **self.brief(row),
            "row": row,
            "histogram": {"low": low, "high": high, "counts": histogram.counts[row].tolist()},
            **{name: self.pairs(name, row) for name in _IDS},
            "position_profile": _cut(self.profile, row).tolist(),
            "neighbours": self._neighbours.of(latent),
            **{name: self.judgements.of(name, latent) for name in _JUDGED},
            "passages": [self._passage(**one) for one in self._passages.of(latent)],
        }

    def _passage(self, token_ids: Sequence[int], **row: Any) -> dict[str, Any]:
        return {**row, "tokens": [self.words[id] for id in token_ids]}


def rounded(activations: NDArray[np.float32], maxima: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return activations in 255 steps of their passages' maxima, at least one where there is any: as a report has
    them."""
    levels = activations / np.where(maxima > 0, maxima, np.float32(1)) * LEVELS
    steps = np.where(levels > 0, np.clip(np.round(levels), 1, LEVELS), 0)
    return (steps / LEVELS * maxima).astype(np.float32)


class Names:
    """A column of few different names, as numbers; "" where there is none."""

    def __init__(self, found: Any) -> None:
        coded = found.combine_chunks().dictionary_encode()
        self.names = [*(name or "" for name in coded.dictionary.to_pylist()), ""]
        self._numbers = plain(coded.indices, len(self.names) - 1).astype(np.int16)

    def __getitem__(self, row: int) -> str:
        return self.names[self._numbers[row]]


def _cut(lists: Ragged, row: int) -> NDArray[Any]:
    return lists.values[lists.first[row] : lists.first[row + 1]]


def _short(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else text[:longest] + "…"


def _small(lists: Ragged, dtype: Any) -> Ragged:
    return Ragged(lists.first, lists.values.astype(dtype))


def _or_none(value: Any) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None
