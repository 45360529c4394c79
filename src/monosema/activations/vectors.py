"""Bring your own: any matrix of vectors, in memory or in .npy, safetensors or Parquet files, is a store of one site."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations.codec import Coded
from monosema.activations.matrices import (
    Matrix,
    in_memory,
    read_npy,
    read_npz,
    read_parquet_matrix,
    read_safetensors_matrix,
)
from monosema.activations.source import VECTORS, Range, RowSource, copy_runs, runs_by_file
from monosema.activations.store import Store
from monosema.core import Site, SiteError, VectorError, counted, digest
from monosema.data import fingerprint

READERS: dict[str, Callable[[Path, str | None], Matrix]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".safetensors": read_safetensors_matrix,
    ".parquet": read_parquet_matrix,
}
CHECKED_TOGETHER = 8_192
NAMED_ROWS = 5


class VectorStore:
    """Rows of one matrix, or of the matrices of several files one below the other; each file is a shard.

    Files stay on the disk; Parquet is unpacked into a temporary file first.
    """

    def __init__(self, path: Path, shards: list[tuple[Path, Matrix]], *, in_memory: bool = False) -> None:
        self.path = path
        self._in_memory = in_memory
        self._shards = [matrix for _, matrix in shards]
        self._files = [file for file, _ in shards]
        self._starts = [0, *itertools.accumulate(matrix.rows for matrix in self._shards)]
        self._site = VECTORS

    @property
    def name(self) -> str:
        """Path, for messages."""
        return str(self.path)

    def __repr__(self) -> str:
        return (
            f"VectorStore({self.path}: {self.rows:,} vectors of width {self.width()}, {str(self._shards[0].dtype)[6:]})"
        )

    @cached_property
    def digest(self) -> str:
        """Hash of the content of the files, or of the matrix in memory."""
        if self._in_memory:
            values = self._shards[0].open().contiguous().view(torch.uint8)
            return digest(hashlib.sha256(values.numpy().tobytes()).hexdigest())
        return digest([[file.name, fingerprint(file)] for file in self._files])

    @property
    def sites(self) -> tuple[Site, ...]:
        """The one site, called ``vectors``."""
        return (self._site,)

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return self._starts[-1]

    def width(self, site: Site | str | None = None) -> int:
        """Values in a row."""
        self._check_site(site)
        return self._shards[0].width

    def row_bytes(self, site: Site | str | None = None) -> float:
        """Bytes of a row as stored."""
        return float(self.width(site) * self._shards[0].dtype.itemsize)

    def gather(self, site: Site | str | None, ranges: Sequence[Range]) -> Coded:
        """Copies of the rows of all ranges, as stored."""
        out = torch.empty((sum(stop - start for start, stop in ranges), self.width(site)), dtype=self._shards[0].dtype)
        at = 0
        for index, runs in runs_by_file(self._starts, ranges):
            at = copy_runs(out, at, self._shards[index].open(), runs)
        return Coded(out)

    def read(self, site: Site | str | None, start: int, stop: int) -> Float[Tensor, "n width"]:
        """Rows start … stop - 1 in float32, copied."""
        return self.gather(site, [(start, stop)]).decode()

    def _check_site(self, site: Site | str | None) -> None:
        if site is not None and Site.parse(site) != self._site:
            raise SiteError(f"{self.path} holds vectors of no model; its only site is 'vectors', not {str(site)!r}.")

    def refuse_unusable(self) -> None:
        """Raise VectorError that counts NaN and infinity by file, where there are any. Reads everything once."""
        found = []
        for file, matrix in zip(self._files, self._shards, strict=True):
            values, rows = 0, []
            for start in range(0, matrix.rows, CHECKED_TOGETHER):
                bad = ~torch.isfinite(matrix.open()[start : start + CHECKED_TOGETHER].to(torch.float32))
                if bool(bad.any()):
                    values += int(bad.sum())
                    rows += (bad.any(dim=1).nonzero().squeeze(1) + start).tolist()
            if values:
                named = ", ".join(map(str, rows[:NAMED_ROWS])) + (", …" if len(rows) > NAMED_ROWS else "")
                found.append(
                    f"{file.name}: {counted(values, 'value')} in {len(rows):,} of {matrix.rows:,} rows (rows {named})"
                )
        if found:
            raise VectorError(
                f"{self.path} holds NaN or infinity, or values beyond float32, which no dictionary can be trained on. "
                f"{'; '.join(found)}. Remove these rows."
            )


def open_vectors(path: str | Path, column: str | None = None, *, check: bool = True) -> VectorStore:
    """Open a matrix of vectors, one a row, as a store.

    Args:
        path: a .npy, .npz, .safetensors or .parquet file, or a folder of such files of one width.
        column: for Parquet, the column of lists that holds the vectors (all numeric columns, if left out and there is
            no list); for .npz and safetensors, the array's key (if left out, there must be one only).
        check: look for NaN and infinity now.

    Raises VectorError where the file isn't a matrix of floating numbers with a row at least, is truncated, lacks the
    column (the message names those there are), or holds NaN or infinity (counted, by file).
    """
    root = Path(path)
    if not root.exists():
        raise VectorError(f"There is no file or folder {root}.")
    files = sorted(file for file in root.iterdir() if file.suffix in READERS) if root.is_dir() else [root]
    if not files or any(file.suffix not in READERS for file in files):
        raise VectorError(f"{root} holds no vectors that can be read: known are {', '.join(READERS)} files.")
    shards = [(file, READERS[file.suffix](file, column)) for file in files]
    kinds = {(matrix.width, matrix.dtype) for _, matrix in shards}
    if len(kinds) > 1:
        described = "; ".join(f"{file.name}: {m.width} × {str(m.dtype)[6:]}" for file, m in shards)
        raise VectorError(f"The files in {root} differ in width or type ({described}). Keep those of one kind.")
    store = VectorStore(root, shards)
    if check:
        store.refuse_unusable()
    return store


Rows = str | Path | RowSource | Tensor | np.ndarray
"""Rows in any form: a file, a folder, a store, a matrix in memory."""


def open_rows(rows: Rows, column: str | None = None, *, check: bool = True) -> RowSource:
    """Open whatever rows are there: a captured store (a folder with a manifest.json, or a run with one), or vectors in
    files or in memory. Raises as `open_vectors`."""
    if isinstance(rows, (Tensor, np.ndarray)):
        store = VectorStore(Path("vectors"), [(Path("vectors"), in_memory(rows))], in_memory=True)
        if check:
            store.refuse_unusable()
        return store
    if isinstance(rows, RowSource):
        return rows
    if not isinstance(rows, (str, Path)):
        raise VectorError(
            f"Rows are a tensor, an array, a file, a folder or a store, not {type(rows).__name__}. Of lists of numbers "
            "make a tensor: torch.tensor(rows)."
        )
    for folder in (Path(rows), Path(rows) / "activations"):
        if (folder / "manifest.json").exists():
            return Store.open(folder)
    return open_vectors(rows, column, check=check)
