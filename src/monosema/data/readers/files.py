"""A corpus of one file, or of all readable files below a folder, of mixed kinds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from monosema.core import CorpusError, digest
from monosema.data.document import Document
from monosema.data.readers.fingerprint import fingerprint
from monosema.data.readers.jsonl import read_jsonl
from monosema.data.readers.parquet import read_parquet
from monosema.data.readers.text import read_text

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
