"""An atlas's Parquet tables as the report needs them: columns in memory, passages as flat vectors, as many as asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosema.atlas import Atlas
from monosema.core import FormatError

KINDS = ("top", *(f"q{i}" for i in range(9, -1, -1)))
"""Kinds of passages, in the order a page shows them: the strongest, then quantiles from strong to weak."""


def read_table(atlas: Atlas, name: str, filters: Any = None, words: str = "") -> Any:
    """One table as Arrow: features with their labels, or any other as it is stored.

    The list column `words` is read as numbers of its distinct strings, which takes a fraction of the memory.
    """
    import pyarrow.parquet as pq

    if name == "features":
        return atlas.table(name)
    path = atlas.file(name)
    with pq.ParquetFile(path) as file:
        leaves = [file.schema.column(i).path for i in range(len(file.schema))]
    distinct = [leaf for leaf in leaves if words and leaf.startswith(f"{words}.")]
    return pq.read_table(path, filters=filters, read_dictionary=distinct or None)


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
    """Every token string of the page once, numbered in order of first use."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._ids: dict[str, int] = {}

    def ids(self, strings: Any) -> NDArray[np.int64]:
        """Numbers of an Arrow array of strings, new ones added."""
        encoded = strings.dictionary_encode()
        if hasattr(encoded, "combine_chunks"):
            encoded = encoded.combine_chunks()
        if hasattr(encoded, "chunks"):
            raise FormatError("A token column did not fit one Arrow chunk; write the report with fewer passages.")
        numbers = np.array([self._id(word or "") for word in encoded.dictionary.to_pylist()], dtype=np.int64)
        indices = encoded.indices.to_numpy(zero_copy_only=False)
        return numbers[indices] if indices.size else np.zeros(0, dtype=np.int64)

    def _id(self, word: str) -> int:
        number = self._ids.setdefault(word, len(self.words))
        if number == len(self.words):
            self.words.append(word)
        return number


def ragged(table: Any, name: str, vocabulary: Vocabulary | None = None) -> Ragged:
    """A list column. With a vocabulary its strings become token ids; without, its numbers stay (null counts as 0)."""
    if name not in table.column_names:
        return Ragged(np.zeros(table.num_rows + 1, dtype=np.int64), np.zeros(0))
    import pyarrow.compute as pc

    lists = table[name]
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(), dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(lengths)])
    flat = pc.list_flatten(lists)
    if vocabulary is not None:
        return Ragged(first, vocabulary.ids(flat))
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
    table = known_rows(read_table(atlas, "examples", keep, words="tokens"), latents)
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
        tokens=ragged(table, "tokens", vocabulary).take(order),
        activations=ragged(table, "activations").take(order),
    )
