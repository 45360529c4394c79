"""Texts of one column of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from monosema.core import CorpusError, nearest

ROWS_TOGETHER = 256


def read_parquet(path: Path, column: str) -> Iterator[str]:
    """The column's values in order; nulls are left out.

    Raises CorpusError naming the file and what is wrong with it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise CorpusError(
                    f"{path} has no column {column!r}.{nearest(column, names)} It has: {', '.join(names)}. "
                    "Say which holds the text with column = …"
                )
            kind = file.schema_arrow.field(column).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
                raise CorpusError(f"The column {column!r} of {path} holds {kind}, not text.")
            for batch in file.iter_batches(batch_size=ROWS_TOGETHER, columns=[column]):
                for value in batch.column(0):
                    if value.is_valid:
                        yield value.as_py()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"{path} can't be read as Parquet ({str(error).splitlines()[0]}). It may be truncated: fetch it again."
        ) from error
