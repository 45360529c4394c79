"""Captured activations on disk: shards of rows, read where they lie."""

from __future__ import annotations

import bisect
import itertools
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.activations.codec import BYTES, CodecKind, Coded
from monosema.activations.manifest import Manifest
from monosema.core import DamagedFileError, RunError, Site, SiteError, digest

__all__ = ["Store", "scale_key", "values_key"]


def values_key(site: Site | str) -> str:
    """Name of a site's rows in a shard."""
    return f"activations/{site}"


def scale_key(site: Site | str) -> str:
    """Name of the rows' int8 scales in a shard."""
    return f"scale/{site}"


class Store:
    """A folder of activations; opening it reads its manifest only.

    Row i is the same token at every site. Rows are in the order of the text: use a stream for training.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._starts = [0, *itertools.accumulate(shard.rows for shard in manifest.shards)]
        self._open: dict[int, Any] = {}

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a finished store. Raises RunError where there is none, or where its capture was not finished."""
        folder = Path(path)
        manifest = Manifest.read(folder)
        if manifest is None:
            raise RunError(
                f"{folder} holds no store of activations (it has no manifest.json). Capture one there first."
            )
        if not manifest.complete:
            raise RunError(
                f"The store {folder} is not finished ({manifest.rows:,} rows so far): its capture was interrupted. "
                "Run the same capture again; it goes on where it stopped."
            )
        return cls(folder, manifest)

    @property
    def name(self) -> str:
        """Path, for messages."""
        return str(self.path)

    @cached_property
    def digest(self) -> str:
        """Hash of the recipe and of all shards' checksums."""
        return digest([self.manifest.recipe, [shard.sha256 for shard in self.manifest.shards]])

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Captured sites."""
        return tuple(Site.parse(name) for name in self.manifest.widths)

    @property
    def rows(self) -> int:
        """Rows in all shards."""
        return self._starts[-1]

    @property
    def codec(self) -> CodecKind:
        """How the rows are stored: bfloat16, float32, float16 or int8."""
        kind: CodecKind = self.manifest.recipe["codec"]
        return kind

    def width(self, site: Site | str) -> int:
        """Values in a row of a site."""
        return self.manifest.widths[self._name(site)]

    def row_bytes(self, site: Site | str) -> float:
        """Bytes of a row as stored."""
        return self.width(site) * BYTES[self.codec] + (4.0 if self.codec == "int8" else 0.0)

    def verify(self) -> list[str]:
        """Names of shards that are missing, or that don't match their checksum. Reads everything once."""
        return [shard.file for shard in self.manifest.shards if not shard.intact(self.path)]

    def coded(self, site: Site | str, start: int, stop: int) -> Coded:
        """Rows start … stop - 1 as stored; rows of one shard are a view of the file. Raises DamagedFileError."""
        name = self._name(site)
        values = self._gather(values_key(name), start, stop)
        return Coded(values, self._gather(scale_key(name), start, stop) if self.codec == "int8" else None)

    def read(self, site: Site | str, start: int, stop: int) -> Float[Tensor, "n width"]:
        """Rows start … stop - 1 in float32."""
        return self.coded(site, start, stop).decode()

    def rows_of(self, site: Site | str, shard: int) -> Float[Tensor, "n width"]:
        """All rows of one shard in float32."""
        return self.read(site, self._starts[shard], self._starts[shard + 1])

    def tokens(self, start: int = 0, stop: int | None = None) -> Int[Tensor, " n"]:
        """Token id of each row."""
        return self._gather("tokens", start, self.rows if stop is None else stop)

    def documents(self, start: int = 0, stop: int | None = None) -> Int[Tensor, " n"]:
        """Document id of each row."""
        return self._gather("document", start, self.rows if stop is None else stop)

    def positions(self, start: int = 0, stop: int | None = None) -> Int[Tensor, " n"]:
        """Position of each row's token in its document."""
        return self._gather("position", start, self.rows if stop is None else stop)

    def _name(self, site: Site | str) -> str:
        name = str(Site.parse(site))
        if name not in self.manifest.widths:
            known = ", ".join(s.short for s in self.sites)
            raise SiteError(f"The store {self.path} has no site {site}. It has: {known}. Capture the site first.")
        return name

    def _gather(self, key: str, start: int, stop: int) -> Tensor:
        if not 0 <= start <= stop <= self.rows:
            raise IndexError(f"Rows {start}:{stop} are not within the {self.rows} rows of {self.path}.")
        parts: list[Tensor] = []
        first = min(bisect.bisect_right(self._starts, start), len(self.manifest.shards)) - 1
        for index in range(first, len(self.manifest.shards)):
            low = self._starts[index]
            if low >= stop and parts:
                break
            parts.append(self._tensors(index, key)[max(start - low, 0) : max(stop - low, 0)])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _tensors(self, index: int, key: str) -> Tensor:
        from safetensors import SafetensorError, safe_open

        shard = self.manifest.shards[index]
        path = self.path / shard.file
        try:
            if index not in self._open:
                if path.stat().st_size != shard.bytes:
                    raise DamagedFileError(self._damaged(shard.file, "it is not as long as it was"))
                self._open[index] = safe_open(path, framework="pt")
            return self._open[index].get_tensor(key)
        except FileNotFoundError:
            raise DamagedFileError(self._damaged(shard.file, "it is missing")) from None
        except (SafetensorError, OSError) as error:
            raise DamagedFileError(self._damaged(shard.file, str(error))) from error

    def _damaged(self, file: str, reason: str) -> str:
        return f"The shard {self.path / file} is damaged: {reason}. Run the same capture again; it makes only this one."
