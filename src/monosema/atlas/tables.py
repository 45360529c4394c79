"""The tables of an atlas on disk: their columns, and writing them so that nothing is lost and damage is found.

    features      one row per latent: statistics, promoted and suppressed tokens, top tokens
    examples      passages of each latent: the strongest ("top"), and some of each quantile ("q0" … "q9"), or "inactive"
    vocabulary    the text of each token id; the other tables hold ids
    histograms    tokens by activation, 32 bins over (0, maximum], of each latent that is ever active
    neighbours    nearest latents by decoder cosine and by co-activation
    explanations  what somebody or something says that a latent means
    scores        how well an explanation predicts its latent
    votes         which explanations people hold to be right, and wrong
    sites         of a crosscoder, each latent's share of decoder norm at each site, in the order of a row; else empty

Each is a Parquet file. meta.json names the files, with their checksums, and holds the counts of the text and
why anything is absent. A table is replaced by a new file under a new name, and counts from the moment that meta.json
names it; so a reader sees the old tables or the new ones, never a mixture, whenever the writer is killed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from monosema.core import DamagedFileError, FormatError, atomic_path, digest, read_json, sha256_file

FORMAT = 3
READABLE_JUDGEMENTS = (2, FORMAT)
"""Formats whose explanations and votes have the columns of this one, so that people's outlive a change of format."""
_IDENTITY = {"latent": "int32", "author": "string", "method": "string", "model": "string", "prompt_version": "string"}
_COLUMNS = {
    "features": {
        "latent": "int32",
        "alive": "bool",
        "density": "float64",
        "n_active": "int64",
        "mean": "float32",
        "mean_active": "float32",
        "max": "float32",
        "promoted_ids": "list<int32>",
        "promoted_logits": "list<float32>",
        "suppressed_ids": "list<int32>",
        "suppressed_logits": "list<float32>",
        "position_profile": "list<float32>",
        "top_token_ids": "list<int32>",
        "top_token_shares": "list<float32>",
    },
    "examples": {
        "latent": "int32",
        "kind": "string",
        "rank": "int16",
        "document": "int64",
        "position": "int32",
        "peak": "int16",
        "token_ids": "list<int32>",
        "activations": "list<float32>",
        "maximum": "float32",
        "passage_hash": "string",
        "test": "bool",
    },
    "vocabulary": {"token": "int32", "text": "string"},
    "histograms": {"latent": "int32", "low": "float32", "high": "float32", "counts": "list<int64>"},
    "neighbours": {"latent": "int32", "kind": "string", "rank": "int16", "other": "int32", "value": "float32"},
    "explanations": {**_IDENTITY, "text": "string", "program": "string"},
    "scores": {
        **_IDENTITY,
        "scorer": "string",
        "value": "float64",
        "low": "float64",
        "high": "float64",
        "n": "int64",
        "interval": "string",
        "control": "float64",
        "rank": "int16",
        "chance": "float64",
        "random": "float64",
        "random_low": "float64",
        "random_high": "float64",
        "random_n": "int64",
    },
    "votes": {**_IDENTITY, "text": "string", "voter": "string", "vote": "int8"},
    "sites": {"latent": "int32", "place": "int16", "site": "string", "share": "float32"},
}
NAMES = tuple(_COLUMNS)
_ROWS_IN_GROUP = {"examples": 2048}
"""A page of one feature reads a whole group."""


def schema(name: str) -> Any:
    """The columns of a table as an Arrow schema."""
    import pyarrow as pa

    def kind(text: str) -> Any:
        return pa.list_(kind(text[5:-1])) if text.startswith("list<") else pa.type_for_alias(text)

    return pa.schema([(column, kind(text)) for column, text in _COLUMNS[name].items()])


def table_path(folder: Path, meta: Mapping[str, Any], name: str) -> Path:
    """Return the path of a table, as meta.json names it."""
    return folder / str(meta["tables"][name]["file"])


def unused_path(folder: Path, name: str) -> Path:
    """Return the path for the next file of a table: ``NAME.parquet``, ``NAME-2.parquet``, …; never one that exists."""
    numbers = [int(found[1] or 1) for path in folder.glob(f"{name}*.parquet") if (found := _numbered(path, name))]
    number = max(numbers, default=0) + 1
    return folder / (f"{name}.parquet" if number == 1 else f"{name}-{number}.parquet")


def _numbered(path: Path, name: str) -> re.Match[str] | None:
    return re.fullmatch(rf"{name}(?:-(\d+))?\.parquet", path.name)


def remove_unnamed(folder: Path) -> None:
    """Remove files of tables that meta.json does not name: older ones, and those of writers that were killed."""
    try:
        meta = read_json(folder / "meta.json")
    except FormatError:
        meta = {"tables": {}}
    named = {facts.get("file", f"{name}.parquet") for name, facts in meta["tables"].items()}
    for path in (*folder.glob("*.parquet"), *folder.glob(".*.tmp")):
        if path.name not in named and (path.suffix == ".tmp" or any(_numbered(path, name) for name in NAMES)):
            path.unlink(missing_ok=True)


class TableWriter:
    """Rows of one table, written part by part."""

    def __init__(self, name: str, writer: Any) -> None:
        self._schema = schema(name)
        self._writer = writer
        self._rows_in_group = _ROWS_IN_GROUP.get(name, 65_536)

    def write(self, columns: Mapping[str, Any]) -> None:
        """Add rows.

        Args:
            columns: by name, arrays or Arrow arrays of one length; strings may be dictionary-encoded.
        """
        import pyarrow as pa

        arrays = [_as_column(columns[field.name], field.type) for field in self._schema]
        self._writer.write_table(pa.table(arrays, schema=self._schema), row_group_size=self._rows_in_group)


@contextlib.contextmanager
def write_table(path: Path, name: str) -> Iterator[TableWriter]:
    """Write one table to a file; it is there, whole, when the block ends well."""
    import pyarrow.parquet as pq

    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema(name), compression="zstd", store_schema=False) as writer,
    ):
        yield TableWriter(name, writer)


def _as_column(values: Any, kind: Any) -> Any:
    import pyarrow as pa

    if not isinstance(values, (pa.Array, pa.ChunkedArray)):
        return pa.array(values, type=kind)
    return values if values.type == kind else values.cast(kind)


def describe(path: Path) -> dict[str, Any]:
    """Return the entry of a table's file in meta.json: name, rows, bytes and checksum."""
    import pyarrow.parquet as pq

    rows = pq.read_metadata(path).num_rows
    return {"file": path.name, "rows": rows, "bytes": path.stat().st_size, "sha256": sha256_file(path)}


def state_of(meta: Mapping[str, Any]) -> str:
    """Digest all tables by their checksums."""
    return digest([facts["sha256"] for facts in meta["tables"].values()])


def check_tables(folder: Path, checksums: bool, names: Iterable[str] = NAMES) -> dict[str, Any]:
    """Read meta.json and compare the tables with it.

    Args:
        checksums: read all of them; otherwise their sizes alone are compared.
        names: which tables.

    Raises:
        FormatError: there is no atlas, or one of another version.
        DamagedFileError: a table is missing, or is not what was written.
    """
    meta: dict[str, Any] = read_json(folder / "meta.json")
    if meta.get("format") != FORMAT:
        raise FormatError(
            f"The atlas {folder} has format {meta.get('format')}; this version reads {FORMAT}. "
            "Build it again with: monosema atlas RUN"
        )
    check_files(folder, meta, checksums, names)
    return meta


def check_files(folder: Path, meta: Mapping[str, Any], checksums: bool, names: Iterable[str]) -> None:
    """Compare files of tables with what meta.json says of them, whatever its format. Raises DamagedFileError."""
    for name in names:
        path, facts = table_path(folder, meta, name), meta["tables"][name]
        if not path.exists():
            raise DamagedFileError(
                f"The atlas {folder} has lost its table {path.name}. Build it again with: monosema atlas RUN"
            )
        size = path.stat().st_size
        if size != facts["bytes"]:
            problem = f"has {size:,} bytes instead of {facts['bytes']:,}"
        elif checksums and sha256_file(path) != facts["sha256"]:
            problem = "does not match its checksum"
        else:
            continue
        raise DamagedFileError(f"{path} is damaged: it {problem}. Build the atlas again with: monosema atlas RUN")
