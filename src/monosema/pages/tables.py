"""An atlas's Parquet tables as the report needs them: columns in memory, passages as flat vectors, as many as asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosema.atlas import Atlas

KINDS = ("top", *(f"q{i}" for i in range(9, -1, -1)))
"""Kinds of passages, in the order a page shows them: the strongest, then quantiles from strong to weak."""


def read_table(atlas: Atlas, name: str, filters: Any = None) -> Any:
    """Read one table as Arrow: features with their labels, or any other as it is stored."""
    import pyarrow.parquet as pq

    return atlas.table(name) if name == "features" else pq.read_table(atlas.file(name), filters=filters)


def known_rows(table: Any, latents: NDArray[np.int64]) -> Any:
    """The rows of a table that are about one of these latents; the table itself where all are."""
    known = np.isin(column(table, "latent", np.int64), latents)
    return table if known.all() else table.filter(known)


def column(table: Any, name: str, dtype: Any, missing: float = 0) -> NDArray[Any]:
    """A column as NumPy; `missing` stands for null and for a column that the table does not have."""
    if name not in table.column_names:
        return np.full(table.num_rows, missing, dtype=dtype)
    import pyarrow.compute as pc

    values = table[name]
    if values.null_count:
        values = pc.fill_null(values, missing)
    return np.asarray(values.to_numpy(), dtype=dtype)


@dataclass(frozen=True)
class Ragged:
    """Lists of unequal length: row i is ``values[first[i]:first[i + 1]]``."""

    first: NDArray[np.int64]
    values: NDArray[Any]

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        """These rows, in this order."""
        lengths = np.diff(self.first)[rows]
        first = np.concatenate([[0], np.cumsum(lengths)])
        index = np.repeat(self.first[rows] - first[:-1], lengths) + np.arange(first[-1])
        return Ragged(first, self.values[index])


class Vocabulary:
    """The tokens that a page shows, numbered from 0 in order of first use.

    Attributes:
        words: their texts.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """`texts` of all tokens of the model, by id."""
        self._texts = texts
        self._numbers = np.full(len(texts), -1, np.int64)
        self.words: list[str] = []

    def numbers(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the numbers of token ids; ids not seen before get the next ones."""
        used = np.zeros(len(self._texts), np.bool_)
        used[ids] = True
        new = np.flatnonzero(used & (self._numbers < 0))
        self._numbers[new] = np.arange(len(new)) + len(self.words)
        self.words += [self._texts[id] for id in new.tolist()]
        return self._numbers[ids]


def ragged(table: Any, name: str, vocabulary: Vocabulary | None = None) -> Ragged:
    """Read a list column (null counts as 0); with a vocabulary, its token ids become the page's numbers."""
    if name not in table.column_names:
        return Ragged(np.zeros(table.num_rows + 1, dtype=np.int64), np.zeros(0))
    import pyarrow.compute as pc

    lists = table[name]
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(), dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(lengths)])
    flat = pc.list_flatten(lists)
    if vocabulary is not None:
        return Ragged(first, vocabulary.numbers(np.asarray(flat.to_numpy())))
    return Ragged(first, np.asarray(pc.fill_null(flat, 0).to_numpy()))


@dataclass(frozen=True)
class Passages:
    """Example passages sorted by latent, kind (order of KINDS) and rank; every vector has one entry a passage."""

    latent: NDArray[np.int64]
    kind: NDArray[np.int64]
    document: NDArray[np.int64]
    position: NDArray[np.int64]
    peak: NDArray[np.int64]
    maximum: NDArray[np.float32]
    tokens: Ragged
    activations: Ragged


def read_passages(
    atlas: Atlas, latents: NDArray[np.int64], vocabulary: Vocabulary, top: int, quantile: int
) -> Passages:
    """The `top` strongest passages and `quantile` passages of each quantile, of each of `latents`."""
    import pyarrow.compute as pc

    keep = ((pc.field("kind") == "top") & (pc.field("rank") < top)) | (
        (pc.field("kind") != "top") & (pc.field("rank") < quantile)
    )
    table = known_rows(read_table(atlas, "examples", keep), latents)
    order_of = {kind: number for number, kind in enumerate(KINDS)}
    encoded = table["kind"].combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if hasattr(encoded, "combine_chunks") else encoded
    numbers = np.array([order_of.get(kind, len(KINDS)) for kind in encoded.dictionary.to_pylist()], dtype=np.int64)
    kind = numbers[encoded.indices.to_numpy()] if table.num_rows else np.zeros(0, dtype=np.int64)
    latent = column(table, "latent", np.int64)
    order = np.lexsort((column(table, "rank", np.int64), kind, latent))
    return Passages(
        latent=latent[order],
        kind=kind[order],
        document=column(table, "document", np.int64)[order],
        position=column(table, "position", np.int64)[order],
        peak=column(table, "peak", np.int64)[order],
        maximum=column(table, "maximum", np.float32)[order],
        tokens=ragged(table, "token_ids", vocabulary).take(order),
        activations=ragged(table, "activations").take(order),
    )
