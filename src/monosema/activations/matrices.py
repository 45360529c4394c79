"""Matrices in foreign files. A file is mapped into memory only while rows of it are read."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from monosema.core import DiskFullError, VectorError, nearest

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ROWS_TOGETHER = 4_096


@dataclass(frozen=True)
class Matrix:
    """A matrix in a file.

    Attributes:
        rows, width: its shape.
        dtype: type of its values.
        open: maps it into memory; the file is released when the tensor is.
    """

    rows: int
    width: int
    dtype: torch.dtype
    open: Callable[[], Shaped[Tensor, "rows width"]]


def _matrix(open_it: Callable[[], Tensor]) -> Matrix:
    tensor = open_it()
    return Matrix(tensor.shape[0], tensor.shape[1], tensor.dtype, open_it)


def _checked(path: Path | str, what: str, shape: tuple[int, ...], kind: str, *, floating: bool) -> None:
    if len(shape) != 2:
        raise VectorError(
            f"{path}{what} has shape {list(shape)}; vectors must be a matrix, one vector a row. Reshape it."
        )
    if 0 in shape:
        raise VectorError(f"{path}{what} is empty: its shape is {list(shape)}.")
    if not floating:
        raise VectorError(
            f"{path}{what} holds {kind}; vectors must be float16, bfloat16, float32 or float64. Convert it to float32."
        )


def _floating(kind: np.dtype[Any]) -> bool:
    return kind.kind == "f" and kind.itemsize <= 8 and kind.isnative


def _one_of(path: Path, what: str, names: list[str], key: str | None) -> str:
    """Return the name that is meant, of the arrays of a file."""
    if key is None and len(names) != 1:
        raise VectorError(f"{path} holds {len(names)} {what} ({', '.join(names)}): say which with column = …")
    name = names[0] if key is None else key
    if name not in names:
        raise VectorError(f"{path} has no {what[:-1]} {name!r}.{nearest(name, names)} It has: {', '.join(names)}.")
    return name


def in_memory(vectors: Tensor | np.ndarray) -> Matrix:
    """Return a tensor or an array as a matrix. Raises VectorError for what is none of floating numbers."""
    tensor = torch.as_tensor(vectors).detach().cpu()
    kind = str(tensor.dtype).removeprefix("torch.")
    _checked("The given", " matrix", tuple(tensor.shape), kind, floating=tensor.dtype in FLOATING)
    return _matrix(lambda: tensor)


def read_npy(path: Path, column: str | None = None) -> Matrix:
    """The array of a .npy file. Raises VectorError."""
    if column is not None:
        raise VectorError(f"{path} is a .npy file: it has no columns, so column = {column!r} means nothing.")
    with open(path, "rb") as file:
        if not file.read(6).startswith(b"\x93NUMPY"[: path.stat().st_size]):
            raise VectorError(
                f"{path} is no NumPy array, whatever its name says: it doesn't begin as one. Text and tables become "
                "one by numpy.save(path, numpy.loadtxt(file)), or are read as .parquet."
            )
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise VectorError(
            f"{path} can't be read as .npy ({error}). It may be truncated, or hold Python objects."
        ) from error
    _checked(path, "", array.shape, str(array.dtype), floating=_floating(array.dtype))
    return _matrix(lambda: torch.from_numpy(np.load(path, mmap_mode="c")))


def read_npz(path: Path, key: str | None = None) -> Matrix:
    """One array of a .npz file: the one called `key`, or the only one; unpacked into a temporary file. Raises
    VectorError, and DiskFullError where it finds no room."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            name = _one_of(path, "arrays", arrays.files, key)
            array = arrays[name]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise VectorError(
            f"{path} can't be read as .npz ({error}). It may be truncated, or hold Python objects."
        ) from error
    _checked(path, f", array {name!r},", array.shape, str(array.dtype), floating=_floating(array.dtype))
    return _unpacked(path, iter([array]))


def read_safetensors_matrix(path: Path, key: str | None = None) -> Matrix:
    """One tensor of a safetensors file: the one called `key`, or the only one. Raises VectorError."""
    from safetensors import SafetensorError, safe_open

    def open_it() -> Tensor:
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
        name = _one_of(path, "tensors", names, key)
        tensor = open_it()
    except (SafetensorError, OSError) as error:
        raise VectorError(
            f"{path} can't be read as safetensors ({error}). It may be truncated: fetch it again."
        ) from error
    kind = str(tensor.dtype).removeprefix("torch.")
    _checked(path, f", tensor {name!r},", tuple(tensor.shape), kind, floating=tensor.dtype in FLOATING)
    return _matrix(open_it)


def read_parquet_matrix(path: Path, column: str | None = None) -> Matrix:
    """A Parquet file's column of lists, or all of its numeric columns side by side, unpacked into a temporary file.

    The temporary file vanishes with the matrix. Raises VectorError, and DiskFullError where it finds no room.
    """
    return _unpacked(path, _pieces(path, column))


def _unpacked(path: Path, pieces: Iterator[np.ndarray]) -> Matrix:
    """Write pieces of rows to a temporary file, which vanishes with the matrix."""
    first = next(pieces, None)
    if first is None:
        raise VectorError(f"{path} is empty: it has no rows.")
    width, rows = first.shape[1], 0
    with contextlib.ExitStack() as cleanup:
        unpacked = cleanup.enter_context(tempfile.TemporaryFile(buffering=0))
        for piece in itertools.chain((first,), pieces):
            if piece.shape[1] != width:
                raise VectorError(
                    f"{path} has vectors of {piece.shape[1]} values from row {rows:,} on, and of {width} before."
                )
            try:
                left = np.ascontiguousarray(piece).data.cast("B")
                while left:
                    left = left[unpacked.write(left) :]
            except OSError as error:
                raise DiskFullError(
                    f"No room in {tempfile.gettempdir()} to unpack {path} ({error}). Make room, or set TMPDIR."
                ) from error
            rows += len(piece)
        _checked(path, "", (rows, width), str(first.dtype), floating=True)
        shape = (rows, width)
        matrix = _matrix(lambda: torch.from_numpy(np.memmap(unpacked, dtype=first.dtype, mode="r+", shape=shape)))
        weakref.finalize(matrix, cleanup.pop_all().close)
        return matrix


def _pieces(path: Path, column: str | None) -> Iterator[np.ndarray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    at = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            columns = _vector_columns(path, file.schema_arrow, column)
            for batch in file.iter_batches(batch_size=ROWS_TOGETHER, columns=columns):
                yield _piece(path, batch, at)
                at += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise VectorError(
            f"{path} can't be read as Parquet ({str(error).splitlines()[0]}). It may be truncated: fetch it again."
        ) from error


def _vector_columns(path: Path, schema: Any, column: str | None) -> list[str]:
    import pyarrow as pa

    def is_vector(kind: Any) -> bool:
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        return bool(lists and pa.types.is_floating(kind.value_type))

    names: list[str] = schema.names
    if column is not None:
        if column not in names:
            raise VectorError(f"{path} has no column {column!r}.{nearest(column, names)} It has: {', '.join(names)}.")
        kind = schema.field(column).type
        if not (is_vector(kind) or pa.types.is_floating(kind)):
            raise VectorError(f"The column {column!r} of {path} holds {kind}, not lists of floating numbers.")
        return [column]
    vectors = [name for name in names if is_vector(schema.field(name).type)]
    if len(vectors) == 1:
        return vectors
    if names and all(pa.types.is_floating(schema.field(name).type) for name in names):
        return names
    described = ", ".join(f"{name} ({schema.field(name).type})" for name in names)
    raise VectorError(
        f"{path} does not say which column holds the vectors. It has: {described}. "
        "Say which holds lists of floating numbers with column = …"
    )


def _piece(path: Path, batch: Any, at: int) -> np.ndarray:
    """Rows of a batch of one column of lists, or of one or more columns of numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    where = f"between rows {at:,} and {at + len(batch):,}"
    if pa.types.is_floating(batch.schema.types[0]):
        columns = batch.columns
        lengths = [len(columns)]
    else:
        lists = batch.column(0)
        lengths = sorted(set(pc.list_value_length(lists.drop_null()).to_pylist()))
        columns = [lists.flatten(), lists]
    if missing := sum(values.null_count for values in columns):
        raise VectorError(f"{path} has {missing} missing vectors or values {where}. Remove these rows.")
    if len(lengths) > 1:
        raise VectorError(f"{path} has vectors of different lengths {where}: {', '.join(map(str, lengths))}.")
    if pa.types.is_floating(batch.schema.types[0]):
        rows = np.stack([values.to_numpy(zero_copy_only=False) for values in columns], axis=1)
    else:
        rows = columns[0].to_numpy(zero_copy_only=False).reshape(len(batch), -1)
    return rows if rows.dtype == np.float16 else rows.astype(np.float32, copy=False)
