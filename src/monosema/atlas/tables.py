"""The tables of an atlas on disk: their columns, and writing them so that a damaged one is found.

    features      one row a latent: statistics, label and score, promoted and suppressed tokens, top tokens
    examples      passages of each latent: the strongest ("top"), and some of each quantile ("q0" … "q9")
    histograms    tokens by activation, 32 bins over (0, maximum], of each latent that is ever active
    neighbours    nearest latents by decoder cosine and by co-activation
    explanations  what somebody or something says that a latent means
    scores        how well an explanation predicts its latent

Each is a Parquet file; meta.json is written last and holds their checksums, the text's figures, and why anything is
absent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monosema.core import DamagedFileError, atomic_path, read_json, sha256_file

__all__ = ["FORMAT", "NAMES", "TableWriter", "check_tables", "describe", "schema", "table_path", "write_table"]

FORMAT = 1
_COLUMNS = {
    "features": {
        "latent": "int32",
        "alive": "bool",
        "density": "float64",
        "n_active": "int64",
        "mean": "float32",
        "mean_active": "float32",
        "max": "float32",
        "label": "string",
        "label_method": "string",
        "label_score": "float32",
        "label_low": "float32",
        "label_high": "float32",
        "promoted": "list<string>",
        "promoted_logits": "list<float32>",
        "suppressed": "list<string>",
        "suppressed_logits": "list<float32>",
        "position_profile": "list<float32>",
        "top_tokens": "list<string>",
        "top_token_shares": "list<float32>",
    },
    "examples": {
        "latent": "int32",
        "kind": "string",
        "rank": "int16",
        "document": "int64",
        "position": "int32",
        "peak": "int16",
        "tokens": "list<string>",
        "activations": "list<float32>",
        "maximum": "float32",
        "passage_hash": "string",
    },
    "histograms": {"latent": "int32", "low": "float32", "high": "float32", "counts": "list<int64>"},
    "neighbours": {"latent": "int32", "kind": "string", "rank": "int16", "other": "int32", "value": "float32"},
    "explanations": {
        "latent": "int32",
        "author": "string",
        "method": "string",
        "model": "string",
        "prompt_version": "string",
        "text": "string",
    },
    "scores": {
        "latent": "int32",
        "method": "string",
        "scorer": "string",
        "value": "float32",
        "low": "float32",
        "high": "float32",
        "n": "int64",
        "control": "float32",
    },
}
NAMES = tuple(_COLUMNS)
_ROWS_IN_GROUP = {"examples": 8192}


def schema(name: str) -> Any:
    """The columns of a table as an Arrow schema."""
    import pyarrow as pa

    def kind(text: str) -> Any:
        return pa.list_(kind(text[5:-1])) if text.startswith("list<") else pa.type_for_alias(text)

    return pa.schema([(column, kind(text)) for column, text in _COLUMNS[name].items()])


def table_path(folder: Path, name: str) -> Path:
    """Where a table is."""
    return folder / f"{name}.parquet"


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
def write_table(folder: Path, name: str) -> Iterator[TableWriter]:
    """Write one table; it is there, whole, when the block ends well."""
    import pyarrow.parquet as pq

    with (
        atomic_path(table_path(folder, name)) as temporary,
        pq.ParquetWriter(temporary, schema(name), compression="zstd", store_schema=False) as writer,
    ):
        yield TableWriter(name, writer)


def _as_column(values: Any, kind: Any) -> Any:
    import pyarrow as pa

    if not isinstance(values, (pa.Array, pa.ChunkedArray)):
        return pa.array(values, type=kind)
    return values if values.type == kind else values.cast(kind)


def describe(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows, bytes and checksum of each table."""
    import pyarrow.parquet as pq

    paths = {name: table_path(folder, name) for name in NAMES}
    return {
        name: {"rows": pq.read_metadata(path).num_rows, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for name, path in paths.items()
    }


def check_tables(folder: Path, checksums: bool) -> dict[str, Any]:
    """Read meta.json and compare the tables with it.

    Args:
        checksums: read all of them; otherwise their sizes alone are compared.

    Raises:
        DamagedFileError: a table is missing, or is not what was written.
    """
    meta = read_json(folder / "meta.json")
    for name, facts in meta["tables"].items():
        path = table_path(folder, name)
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
    return meta
