"""An atlas's tables as the report needs them: columns in memory, passages as flat vectors, means of scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from monosema.atlas import Atlas, Score
from monosema.core import FormatError, Site, bootstrap_mean

KINDS = ("top", *(f"q{i}" for i in range(9, -1, -1)))
"""Kinds of passages, in the order a page shows them: the strongest, then quantiles from strong to weak."""


def read_table(atlas: Atlas, name: str, filters: Any = None, words: str = "") -> Any:
    """Read one table as Arrow: features with their labels, or any other as it is stored.

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
    """Return the rows of a table that are about one of these latents; the table itself where all are."""
    known = np.isin(column(table, "latent", np.int64), latents)
    return table if known.all() else table.filter(known)


def column(table: Any, name: str, dtype: Any, missing: float = 0) -> NDArray[Any]:
    """Return a column as NumPy; `missing` stands for null and for a column that the table does not have."""
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
        """Return these rows, in this order; neighbours as they stand without a copy."""
        if rows.size and (np.diff(rows) == 1).all():
            first = self.first[rows[0] : rows[-1] + 2]
            return Ragged(first - first[0], self.values[first[0] : first[-1]])
        lengths = np.diff(self.first)[rows]
        first = np.concatenate([[0], np.cumsum(lengths)])
        # (values taken,): a ramp over each row's own values, wherever they stood.
        index = np.repeat(self.first[rows] - first[:-1], lengths) + np.arange(first[-1])
        return Ragged(first, self.values[index])


class Vocabulary:
    """Every token string of the page once, numbered in order of first use."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._ids: dict[str, int] = {}

    def ids(self, strings: Any) -> NDArray[np.int64]:
        """Return the numbers of an Arrow array of strings; new strings are added."""
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
    """Return a list column: with a vocabulary its strings as token ids, without its numbers (null counts as 0)."""
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
    """Example passages sorted by latent, kind (order of KINDS) and rank; vectors have one entry each."""

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
    """Read the `top` strongest passages and `quantile` passages of each quantile, for each of `latents`."""
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


def scores_by_method(atlas: Atlas) -> list[Score]:
    """Return the mean score of the explanations found by each method, beside the mean of its controls.

    The scorer with most scores comes first, and of each the best method first. A method that used a language model is
    named with it.
    """
    rows = atlas.sql("""
        select scorer, if(model is null, method, method || ', ' || model) as name, list(value order by latent) as found,
            list(control order by latent) filter (control is not null) as controls
        from scores group by scorer, name
        order by sum(count(*)) over (partition by scorer) desc, scorer, avg(value) desc, name
    """)
    return [
        Score(
            *("", row["name"], None, None, row["scorer"]),
            estimate=bootstrap_mean(np.array(row["found"])),
            control=float(np.mean(row["controls"])) if row["controls"] else None,
        )
        for row in rows
    ]


def crosscoder_sides(atlas: Atlas) -> tuple[tuple[str, str] | None, Float[np.ndarray, " n_latents"] | None]:
    """Return the two sides of a crosscoder, and the second one's share of each latent's decoder norms.

    Over two models the sides are their sites; over one model, its two sites. None and None where there are not two.
    """
    rows = atlas.sql("select place, any_value(site) as site from sites group by place order by place")
    sites = [Site.parse(row["site"]) for row in rows]
    second = [site.other for site in sites]
    if not any(second):
        second = [False, True] if len(sites) == 2 else []
    if len(set(second)) < 2:
        return None, None
    names = [
        " and ".join(site.short for site, at in zip(sites, second, strict=True) if at is side) for side in (False, True)
    ]
    places = [place for place, at in enumerate(second) if at]
    query = "select sum(share) as share from sites where list_contains(?, place) group by latent order by latent"
    shares = np.array([row["share"] for row in atlas.sql(query, [places])], np.float32)
    return (names[0], names[1]), shares
