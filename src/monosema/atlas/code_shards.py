"""The codes of the text, on disk while an atlas is being made.

The text goes through model and dictionary once, in spans. The codes of a span are turned over (from tokens ×
latents to latents × tokens, a counting sort) and written as one shard, so that later all activations of any block of
latents are one slice of each shard. What is read is bounded by the block, whatever the length of the text. A shard
that is listed in the manifest, with its checksum, is finished; work goes on after the last of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from monosema.atlas.layout import Layout
from monosema.core import atomic_path, read_json, sha256_file, write_json


@dataclass(frozen=True)
class ByLatent:
    """Activations sorted by latent, then by position.

    Attributes:
        first: where each latent begins; one entry more than there are latents.
        position: position of each activation in the span.
        value: the activation, above 0.
    """

    first: Int[np.ndarray, " m"]
    position: Int[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class _Entry:
    """One finished shard in the manifest: file, checksum, batches read, hash of their tokens, sizes."""

    file: str
    sha256: str
    batches: int
    text: str
    positions: int
    passages: int
    activations: int


class Shard:
    """One span of the text on disk.

    Attributes:
        first_position, first_passage: numbers of its first position and passage in the whole text.
        batches, text: batches it holds, and the hash of their tokens.
        activations: activations it holds.
    """

    def __init__(self, path: Path, entry: _Entry, first_position: int, first_passage: int) -> None:
        self.first_position, self.first_passage = first_position, first_passage
        self.positions, self.passages, self.activations = entry.positions, entry.passages, entry.activations
        self.batches, self.text = entry.batches, entry.text
        self._path = path

    @property
    def layout(self) -> Layout:
        """Layout of the shard's positions; positions and passages are numbered from the shard's first."""
        with _open(self._path) as file:
            return Layout(**{name: file.get_tensor(name) for name in Layout.__dataclass_fields__})

    @property
    def first(self) -> NDArray[np.int64]:
        """Index of the first activation of each latent, shape (n_latents + 1,)."""
        with _open(self._path) as file:
            return file.get_tensor("first")

    def read_first(self, low: int, high: int) -> NDArray[np.int64]:
        """Read `first` of the latents from `low` to below `high`, and the end of the last of them."""
        with _open(self._path) as file:
            return file.get_slice("first")[low : high + 1]

    def read(self, low: int, high: int) -> ByLatent:
        """Activations of the latents from `low` to below `high`."""
        with _open(self._path) as file:
            first = file.get_slice("first")[low : high + 1]
            part = slice(int(first[0]), int(first[-1]))
            position, value = file.get_slice("position")[part], file.get_slice("value")[part]
        return ByLatent(first - first[0], position, value)


class CodeShards(Sequence[Shard]):
    """The shards of one text under one dictionary.

    Attributes:
        folder: where they are.
    """

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        """Open what an earlier process with the same key left, or begin anew.

        Args:
            key: all that the codes depend on, apart from the text; another key's shards are removed.
        """
        self.folder = folder
        self._key = key
        self._entries = self._finished()
        self._shards: list[Shard] = []
        self._index()

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: Any) -> Any:
        return self._shards[index]

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    @property
    def activations(self) -> NDArray[np.int64]:
        """Number of activations of each latent, shape (n_latents,)."""
        return sum((np.diff(shard.first) for shard in self), np.zeros(1, np.int64))

    def append(self, layout: Layout, codes: ByLatent, batches: int, text: str) -> None:
        """Write one shard and list it as finished."""
        from safetensors.numpy import save_file

        path = self.folder / f"shard-{len(self._entries):05d}.safetensors"
        arrays = {name: getattr(layout, name) for name in Layout.__dataclass_fields__}
        arrays |= {"first": codes.first, "position": codes.position, "value": codes.value}
        with atomic_path(path) as temporary:
            save_file(arrays, temporary)
        entry = _Entry(
            path.name, sha256_file(path), batches, text, len(layout), len(layout.passage_hash), len(codes.value)
        )
        self._entries.append(entry)
        write_json(
            self.folder / "manifest.json", {"key": self._key, "shards": [asdict(entry) for entry in self._entries]}
        )
        self._index()

    def truncate(self, shards: int) -> None:
        """Forget all but the first shards."""
        del self._entries[shards:]
        self._index()

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _finished(self) -> list[_Entry]:
        path = self.folder / "manifest.json"
        if not path.exists():
            self.remove()
            return []
        manifest = read_json(path)
        if manifest["key"] != self._key:
            self.remove()
            return []
        entries = []
        for values in manifest["shards"]:
            entry = _Entry(**values)
            file = self.folder / entry.file
            if not file.exists() or sha256_file(file) != entry.sha256:
                break
            entries.append(entry)
        return entries

    def _index(self) -> None:
        position = passage = 0
        self._shards = []
        for entry in self._entries:
            self._shards.append(Shard(self.folder / entry.file, entry, position, passage))
            position += entry.positions
            passage += entry.passages


def _open(path: Path) -> Any:
    from safetensors import safe_open

    return safe_open(path, framework="np")
