"""Sums of an unfinished evaluation on disk: killed at any moment, it goes on after the last finished part.

A part holds the sums of consecutive batches. Its file is named by its number and the checksum of its content, so that a
damaged one is known; it says which evaluation and which text it is of.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from monosema.core import Progress, atomic_path, checksum_file
from monosema.data import TokenBatch, text_hash
from monosema.evaluation.units import UnitSums

PART_TOKENS = 4096
"""Kept tokens after which a part ends: few seconds of work are lost by a kill."""


class Parts:
    """The finished parts of one evaluation in a folder."""

    def __init__(self, folder: Path | None, key: str) -> None:
        """Open what an earlier process left.

        Args:
            folder: of the parts; None writes nothing down.
            key: all that the sums depend on, apart from the text; parts of another key are not read.
        """
        self.folder, self._key, self._number = folder, key, 0

    def go_on(self, batches: Iterable[TokenBatch], sums: UnitSums, progress: Progress) -> Iterator[TokenBatch]:
        """Add the finished parts to the sums, and give the batches that none of them holds.

        Where the text is not the one that a part was made of, it and all later ones are made anew.
        """
        stream = iter(batches)
        for number in itertools.count():
            path = self._find(number)
            if path is None:
                break
            part, about = _read(path)
            read = list(itertools.islice(stream, int(about.get("batches", 0))))
            if about.get("key") != self._key or about.get("text") != text_hash(read):
                stream = itertools.chain(read, stream)
                break
            sums.restore(part)
            progress.advance(sum(int(batch.keep.sum()) for batch in read))
            self._number += 1
        return stream

    def cut(self, batches: Iterable[TokenBatch]) -> Iterator[list[TokenBatch]]:
        """Batches in groups, of which each is a part."""
        group: list[TokenBatch] = []
        for batch in batches:
            group.append(batch)
            if sum(int(one.keep.sum()) for one in group) >= PART_TOKENS:
                yield group
                group = []
        if group:
            yield group

    def end(self, sums: UnitSums, batches: list[TokenBatch]) -> None:
        """Close a part of the sums, which these batches went into, and write it down."""
        from safetensors.numpy import save_file

        part = sums.close()
        if self.folder is not None:
            for old in self._files(self._number):
                old.unlink()
            about = {"key": self._key, "text": text_hash(batches), "batches": str(len(batches))}
            with atomic_path(self.folder / "part") as temporary:
                save_file(dict(part), temporary, metadata=about)
            path = self.folder / "part"
            path.rename(self.folder / f"{self._number:05d}-{checksum_file(path)}.safetensors")
        self._number += 1

    def _files(self, number: int) -> list[Path]:
        return [] if self.folder is None else sorted(self.folder.glob(f"{number:05d}-*.safetensors"))

    def _find(self, number: int) -> Path | None:
        """The undamaged file of a part."""
        whole = (path for path in self._files(number) if path.stem.partition("-")[2] == checksum_file(path))
        return next(whole, None)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
