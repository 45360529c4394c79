"""An atlas's tables as the report needs them: columns in memory, and passages as flat vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from monosema.atlas import Atlas
from monosema.core import Site

KINDS = ("top", *(f"q{i}" for i in range(9, -1, -1)), "inactive")
"""Kinds of passages in the order of a page: the strongest, quantiles from strong to weak, and inactive ones."""


def read_table(atlas: Atlas, name: str, filters: Any = None) -> Any:
    """Read one table as Arrow: features with their labels, scores with their margins, or any other as it is stored."""
    if name in ("features", "scores"):
        return atlas.table(name)
    if filters is None:
        return stored_table(atlas, name)
    import pyarrow.parquet as pq

    return pq.read_table(atlas.file(name), filters=filters)


def stored_table(atlas: Atlas, name: str, columns: Sequence[str] | None = None) -> Any:
    """Read a table as it is stored, by one thread: through datasets, Arrow would keep as much again for its threads."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(atlas.file(name)) as file:
        return file.read(columns=columns, use_threads=False)


def known_rows(table: Any, latents: NDArray[np.int64]) -> Any:
    """Return the rows of a table that are about one of these latents; the table itself where all are."""
    known = np.isin(column(table, "latent", np.int64), latents)
    return table if known.all() else table.filter(known)


def column(table: Any, name: str, dtype: Any, missing: float = 0) -> NDArray[Any]:
    """Return a column as NumPy; `missing` stands for null and for a column that the table does not have."""
    if name not in table.column_names:
        return np.full(table.num_rows, missing, dtype=dtype)
    return plain(table[name], missing).astype(dtype, copy=False)


def plain(values: Any, missing: float = 0) -> NDArray[Any]:
    """Return an Arrow column of numbers as NumPy, `missing` in place of null, truth values as 0 and 1.

    By its buffer: Arrow's own way imports pandas where that is installed.
    """
    import pyarrow as pa

    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_boolean(whole.type):
        whole = whole.cast(pa.uint8())
    if not whole.null_count:
        return np.from_dlpack(whole)
    known = plain(whole.is_valid()).astype(np.bool_)
    found = plain(whole.drop_null())
    filled = np.full(len(whole), missing, np.result_type(found, np.min_scalar_type(missing)))
    filled[known] = found
    return filled


def rows_of(table: Any, name: str, text: str) -> Any:
    """Return the rows of a table whose column has this text."""
    import pyarrow.compute as pc

    for one in table[name].unique():  # a scalar of Arrow's: to make one of a text it would import pandas
        if one.as_py() == text:
            return table.filter(pc.equal(table[name], one))
    return table.slice(0, 0)


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
    lengths = plain(pc.list_value_length(lists)).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(lengths)])
    flat = pc.list_flatten(lists)
    if vocabulary is not None:
        return Ragged(first, vocabulary.numbers(plain(flat)))
    return Ragged(first, plain(flat))


@dataclass(frozen=True)
class Passages:
    """Example passages sorted by latent, kind (order of KINDS) and rank; vectors have one entry each."""

    latent: NDArray[np.int64]
    kind: NDArray[np.int64]
    rank: NDArray[np.int64]
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
    import pyarrow as pa
    import pyarrow.compute as pc

    keep = ((pc.field("kind") == "top") & (pc.field("rank") < top)) | (
        (pc.field("kind") != "top") & (pc.field("rank") < quantile)
    )
    table = known_rows(read_table(atlas, "examples", keep), latents)
    known = pc.index_in(table["kind"], value_set=pa.array(KINDS))
    kind = plain(known, len(KINDS)).astype(np.int64)
    latent = column(table, "latent", np.int64)
    order = np.lexsort((column(table, "rank", np.int64), kind, latent))
    return Passages(
        latent=latent[order],
        kind=kind[order],
        rank=column(table, "rank", np.int64)[order],
        document=column(table, "document", np.int64)[order],
        position=column(table, "position", np.int64)[order],
        peak=column(table, "peak", np.int64)[order],
        maximum=column(table, "maximum", np.float32)[order],
        tokens=ragged(table, "token_ids", vocabulary).take(order),
        activations=ragged(table, "activations").take(order),
    )


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
