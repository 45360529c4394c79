"""A corpus of one file, or of all readable files below a folder: Parquet, JSON lines and plain text."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from monosema.core import CorpusError, digest, nearest
from monosema.data.corpus import Document

PARQUET = frozenset({".parquet", ".pq"})
JSONL = frozenset({".jsonl", ".ndjson"})
TEXT = frozenset({".txt", ".text", ".md", ".rst"})
ROWS = frozenset({".json", ".csv", ".tsv", ".arrow", ".feather"})
"""Files of rows, which are neither plain text nor among those that are read."""
ABOUT = frozenset({"README", "LICENSE", "LICENCE"})
"""Texts about a data set, which are not its data where they lie beside tables."""


class FileCorpus:
    """Documents of a file, or of the files below a folder in the order of their paths.

    A folder's files are those that end in .parquet, .jsonl, .ndjson, .txt, .text, .md or .rst, hidden ones left out;
    JSON lines and text may be gzipped. Beside Parquet and JSON lines a README or LICENSE is left out. A single file of
    any other kind is read as text, but for files of rows such as CSV, which are refused.
    """

    def __init__(self, path: str | Path, column: str = "text", limit: int | None = None) -> None:
        """Raises CorpusError if there is no such path, or nothing readable below it.

        Args:
            column: which column of Parquet and JSON lines holds the text.
            limit: documents to read at most.
        """
        self._root = Path(path)
        self._column = column
        self._limit = limit
        self.name = self._root.resolve().name
        if not self._root.exists():
            raise CorpusError(f"There is no file or folder {path}. A corpus is a path, 'hf:NAME', or 'builtin'.")
        if _suffix(self._root) in ROWS and not self._root.is_dir():
            raise CorpusError(
                f"{path} is a file of rows, not of text, and of a kind that is not read. Write it as Parquet or JSON "
                "lines; if each of its lines is a JSON object already, name it .jsonl."
            )
        self._files = self._below() if self._root.is_dir() else [self._root]

    def _below(self) -> list[Path]:
        hidden_or_unknown = 0
        files = []
        for path in sorted(self._root.rglob("*")):
            if path.is_file():
                known = _kind(path) != "" and not any(part[0] == "." for part in path.relative_to(self._root).parts)
                hidden_or_unknown += not known
                files += [path] if known else []
        if not files:
            raise CorpusError(
                f"The folder {self._root} holds no text that can be read ({hidden_or_unknown} other files). "
                f"Known are {', '.join(sorted(PARQUET | JSONL | TEXT))}."
            )
        if all(_kind(path) == "text" for path in files):
            return files
        return [path for path in files if _kind(path) != "text" or path.name.split(".")[0].upper() not in ABOUT]

    @cached_property
    def digest(self) -> str:
        """Hash of all files' content, the column and the limit."""
        files = [[path.relative_to(self._root).as_posix(), fingerprint(path)] for path in self._files]
        return digest({"files": files, "column": self._column, "limit": self._limit})

    def documents(self) -> Iterator[Document]:
        """Documents that aren't blank."""
        count = 0
        for path in self._files:
            source = path.name if path == self._root else path.relative_to(self._root).as_posix()
            for text in self._texts(path):
                if not text.strip():
                    continue
                if count == self._limit:
                    return
                yield Document(count, text, source)
                count += 1
        if count == 0:
            raise CorpusError(f"The corpus {self._root} is empty: all of its documents are blank, or there are none.")

    def _texts(self, path: Path) -> Iterator[str]:
        match _kind(path):
            case "parquet":
                return read_parquet(path, self._column)
            case "jsonl":
                return read_jsonl(path, self._column)
            case _:
                return read_text(path)


def _kind(path: Path) -> str:
    suffix = _suffix(path)
    for kind, suffixes in (("parquet", PARQUET), ("jsonl", JSONL), ("text", TEXT)):
        if suffix in suffixes:
            return kind
    return ""


def _suffix(path: Path) -> str:
    """The ending that says what is in a file, in small letters; that below .gz where it is gzipped."""
    return (path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix).lower()


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
                    "Say which holds the text with --column."
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
            "Say which holds the text with --column."
        )
    text = row[column]
    if text is not None and not isinstance(text, str):
        raise CorpusError(f"The column {column!r} in line {number} of {path} is a {type(text).__name__}, not text.")
    return (
        text if text is None or text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )


LONGEST = 250_000
"""A file is one document up to this many characters; a longer one is cut where a paragraph, line or word ends."""


def read_text(path: Path) -> Iterator[str]:
    """The file's text, as one document or, if it is long, as several. Raises CorpusError where it is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    pending, read = "", 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            while piece := file.read(2**18):
                pending += decoder.decode(piece)
                read += len(piece)
                while len(pending) > LONGEST:
                    cut = _cut(pending)
                    yield pending[:cut]
                    pending = pending[cut:]
        pending += decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{not_utf8(path, error, read)} Or leave it out.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} can't be read beyond byte {read:,} ({error}). Fetch it again.") from error
    if pending:
        yield pending


def not_utf8(path: Path, error: UnicodeDecodeError, read: int = 0) -> str:
    """Say that a file is not UTF-8, and how to convert it; the error is from what follows `read` bytes."""
    return (
        f"{path} is not text in UTF-8 (near byte {read + error.start:,}: {error.reason}). Convert it: iconv -f LATIN1 "
        f"-t UTF-8 {path.name} > new{path.suffix}, with the encoding that it has, such as UTF-16, or CP949 of Korean; "
        "Excel saves UTF-8 as “CSV UTF-8”."
    )


def _cut(text: str) -> int:
    """Find the end of a document: after the last paragraph, line or word of its second half."""
    for mark in ("\n\n", "\n", " "):
        found = text.rfind(mark, LONGEST // 2, LONGEST)
        if found >= 0:
            return found + len(mark)
    return LONGEST


WHOLE = 64 * 2**20
"""Files up to this many bytes are hashed whole."""
SAMPLES, SAMPLE_BYTES = 256, 2**16
"""Of a larger file, this many pieces of this size are hashed, spread evenly from its first byte to its last."""


def fingerprint(path: Path) -> str:
    """Hash of size and content. Of files beyond 64 MiB only samples are read (16 MiB in all)."""
    size = path.stat().st_size
    hasher = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        if size <= WHOLE:
            while piece := file.read(2**20):
                hasher.update(piece)
        else:
            for index in range(SAMPLES):
                file.seek((size - SAMPLE_BYTES) * index // (SAMPLES - 1))
                hasher.update(file.read(SAMPLE_BYTES))
    return hasher.hexdigest()[:16]
