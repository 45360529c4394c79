"""Names of items, and what else is known about them: the columns of a Parquet, CSV or text file."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from monosema.core import InputError, nearest
from monosema.data import Document, fingerprint, not_utf8

NAME_COLUMNS = ("name", "title", "text", "label", "id")
"""Columns that names are taken from, the first that there is; else the first column of text, or else the first."""
LARGEST_PICTURE = 24_000
"""Bytes of a picture that a page holds; larger ones are made smaller where Pillow is installed, or else left out."""
_SIDE = 96
_SIGNATURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp", b"<svg": "svg+xml"}
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")


class Items:
    """Items in the order of the rows of their matrix, itself a `Corpus`.

    Attributes:
        path: the file.
        names: one for each item, none twice: one that comes again has its row behind it.
        name_column: column that the names are from.
    """

    def __init__(self, path: Path, table: Any, name_column: str) -> None:
        """`table` is an Arrow table, one row an item."""
        self.path, self.name_column = path, name_column
        self._table = table
        self.names = _distinct(table[name_column].to_pylist())

    def __len__(self) -> int:
        return len(self.names)

    @property
    def name(self) -> str:
        """Name of the file, for people."""
        return self.path.name

    @cached_property
    def digest(self) -> str:
        """Hash of the file."""
        return fingerprint(self.path)

    def documents(self) -> Iterator[Document]:
        """Names as documents."""
        return (Document(row, name, self.name) for row, name in enumerate(self.names))

    @cached_property
    def picture_column(self) -> str | None:
        """The first column of images' bytes, or of paths of images; None where there is none."""
        return next((name for name in self._table.column_names if _is_picture(self._table[name])), None)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns of texts, numbers and truth values beside the names."""
        import pyarrow as pa

        checks: tuple[Callable[[Any], bool], ...] = (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean)
        checks += (pa.types.is_integer, pa.types.is_floating, pa.types.is_dictionary)
        return tuple(
            field.name
            for field in self._table.schema
            if field.name not in (self.name_column, self.picture_column) and any(is_a(field.type) for is_a in checks)
        )

    def column(self, name: str) -> list[Any]:
        """Return the values of a column, in the order of the items; None where one is missing."""
        values: list[Any] = self._table[name].to_pylist()
        return values

    def facts(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return the other columns of some items, one dict a row; missing values are left out."""
        if not self.columns:  # Arrow gives no rows of a table without columns.
            return [{} for _ in rows]
        taken = self._table.select(list(self.columns)).take(list(rows)).to_pylist()
        return [{name: value for name, value in row.items() if value is not None} for row in taken]

    def pictures(self, rows: Iterable[int]) -> Iterator[tuple[int, Callable[[], str | None]]]:
        """Yield items that have a picture, and a function that reads it as a data URI: None where it can't be read as a
        picture, or is too large."""
        if self.picture_column is None:
            return
        column = self._table[self.picture_column]
        for row in rows:
            if value := column[row].as_py():
                yield row, partial(_picture, value, self.path.parent)


def read_items(path: str | Path, rows: int, vectors: str = "the vectors", column: str | None = None) -> Items:
    """Read the names of items.

    Args:
        path: a .parquet or .csv file, whose other columns are facts about the items, or a .txt file, an item a line.
        rows: number of items that there must be.
        vectors: file of the vectors, for messages.
        column: column of the names; None for one called name, title, text, label or id, or else the first of text.

    Raises:
        InputError: no such file or column, another kind of file, or another number of rows.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path} with the names of the items. Give --names a file.")
    if path.suffix not in _READERS:
        raise InputError(f"{path} can't be read as names of items: --names takes {', '.join(_READERS)} files.")
    table = _table(path)
    if table.num_rows != rows:
        raise InputError(
            f"{path} names {table.num_rows:,} items, and {vectors} has {rows:,} rows: give one name for each row, in "
            "the same order."
        )
    names: list[str] = table.column_names
    if column is not None and column not in names:
        raise InputError(f"{path} has no column {column!r}.{nearest(column, names)} It has: {', '.join(names)}.")
    return Items(path, table, column or _name_column(table))


def _table(path: Path) -> Any:
    import pyarrow as pa

    try:
        return _READERS[path.suffix](path)
    except UnicodeDecodeError as error:
        raise InputError(not_utf8(path, error)) from None
    except pa.ArrowException as error:
        first = (str(error).splitlines() or [""])[0]
        raise InputError(f"{path} can't be read as {path.suffix} ({first}).") from None


def _read_parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path)


def _read_csv(path: Path) -> Any:
    from pyarrow import csv

    path.read_text(encoding="utf-8-sig")  # Arrow takes other encodings for bytes, without a word.
    return csv.read_csv(path)


def _read_lines(path: Path) -> Any:
    import pyarrow as pa

    return pa.table({"name": path.read_text(encoding="utf-8-sig").splitlines()})


_READERS: dict[str, Callable[[Path], Any]] = {".parquet": _read_parquet, ".csv": _read_csv, ".txt": _read_lines}


def _name_column(table: Any) -> str:
    import pyarrow as pa

    by_name = {name.lower(): name for name in reversed(table.column_names)}
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    return next((by_name[name] for name in NAME_COLUMNS if name in by_name), [*texts, *table.column_names][0])


def _distinct(names: Sequence[Any]) -> list[str]:
    texts = ["" if name is None else str(name).strip() for name in names]
    often = Counter(texts)
    return [f"{text} (row {row})".strip() if often[text] > 1 or not text else text for row, text in enumerate(texts)]


def _is_picture(column: Any) -> bool:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_struct(kind):
        return "bytes" in {field.name for field in kind}
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return True
    first = next((value for value in column.slice(0, 100).to_pylist() if value), None)
    return isinstance(first, str) and first.lower().endswith(_PICTURE_SUFFIXES)


def _picture(value: Any, home: Path) -> str | None:
    return _data_uri(_bytes_of(value, home))


def _bytes_of(value: Any, home: Path) -> bytes | None:
    if isinstance(value, dict):  # an image as the library datasets writes it
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        path = home / value
        return path.read_bytes() if path.is_file() else None
    return value if isinstance(value, bytes) else None


def _data_uri(content: bytes | None) -> str | None:
    kind = next((kind for start, kind in _SIGNATURES.items() if (content or b"").startswith(start)), None)
    if content is not None and (kind is None or len(content) > LARGEST_PICTURE):
        content, kind = _smaller(content), "png"
    if content is None or len(content) > LARGEST_PICTURE:
        return None
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _smaller(content: bytes) -> bytes | None:
    import io

    try:
        from PIL import Image
    except ImportError:
        return None
    out = io.BytesIO()
    try:
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        picture.thumbnail((_SIDE, _SIDE))
    except OSError:
        return None
    picture.save(out, "PNG")
    return out.getvalue()
