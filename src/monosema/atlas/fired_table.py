"""Features on the tokens of a text as a table, a row for each feature on each token: what a data frame or a file takes.

position, token        place in the text from 0, and the token's text
latent, activation     a feature that fires there, and how strongly; null where none does, so that every token has a row
share, label           the activation as a part of the feature's largest in the atlas, and the feature's label
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from monosema.core import InputError, atomic_path

if TYPE_CHECKING:
    import pyarrow as pa


class FiredRow(NamedTuple):
    """A feature on a token."""

    position: int
    latent: int
    activation: float
    share: float | None
    label: str | None


def fired_table(tokens: Sequence[str], rows: Iterable[FiredRow]) -> pa.Table:
    """Return the table, by position, the strongest share of a feature's maximum first."""
    import pyarrow as pa

    by_token: list[list[FiredRow]] = [[] for _ in tokens]
    for row in rows:
        by_token[row.position].append(row)
    found: list[tuple[object, ...]] = []
    for position, (token, there) in enumerate(zip(tokens, by_token, strict=True)):
        there.sort(key=lambda row: (-(row.share or 0.0), row.latent))
        found += [(position, token, *row[1:]) for row in there] or [(position, token, *[None] * 4)]
    kinds = {"position": pa.int32(), "token": pa.string(), "latent": pa.int32()}
    kinds |= {"activation": pa.float32(), "share": pa.float32(), "label": pa.string()}
    columns = list(zip(*found, strict=True)) or [()] * len(kinds)
    return pa.table({name: pa.array(column, kind) for (name, kind), column in zip(kinds.items(), columns, strict=True)})


def write_fired(table: pa.Table, path: str | Path) -> Path:
    """Write the table to a .parquet or .csv file. Raises InputError for another ending."""
    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"{path} is not valid: give a file that ends in .parquet or .csv.")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        if path.suffix == ".csv":
            from pyarrow import csv

            csv.write_csv(table, file)
        else:
            import pyarrow.parquet as pq

            pq.write_table(table, file, compression="zstd")
    return path
