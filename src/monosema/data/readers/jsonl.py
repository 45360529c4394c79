"""Texts of one key of a file with one JSON object a line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from monosema.core import CorpusError, nearest


def read_jsonl(path: Path, column: str) -> Iterator[str]:
    """The key's values in order; blank lines and nulls are left out.

    Halves of surrogate pairs, which JSON can escape and no text can hold, become the replacement character U+FFFD.

    Raises CorpusError naming the file and the line.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and (text := _text(path, number, line, column)) is not None:
                    yield text
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} can't be read beyond line {number} ({error}). Fetch it again.") from error


def _text(path: Path, number: int, line: bytes, column: str) -> str | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(
            f"Line {number} of {path} is not JSON ({error}). The file may be truncated: fetch it again."
        ) from None
    if not isinstance(row, dict):
        raise CorpusError(f"Line {number} of {path} is a {type(row).__name__}; each line must be a JSON object.")
    if column not in row:
        raise CorpusError(
            f"Line {number} of {path} has no column {column!r}.{nearest(column, row)} It has: {', '.join(row)}. "
            "Say which holds the text with column = …"
        )
    text = row[column]
    if text is not None and not isinstance(text, str):
        raise CorpusError(f"The column {column!r} in line {number} of {path} is a {type(text).__name__}, not text.")
    return (
        text if text is None or text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
