"""Captured activations on disk: shards of rows, of which a reader holds no more than it asked for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.activations.codec import BYTES, CodecKind, Coded
from monosema.activations.manifest import Manifest
from monosema.activations.source import Range, copy_runs, runs_by_file
from monosema.core import DamagedFileError, RunError, Site, SiteError, digest


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

    def __repr__(self) -> str:
        sites = ", ".join(f"{site.short} [{self.width(site)}]" for site in self.sites)
        return f"Store({self.path}: {self.rows:,} rows of {sites} of {self.manifest.recipe['model']}, {self.codec})"

    @property
    def name(self) -> str:
        """Path, for messages."""
        return str(self.path)

    @cached_property
    def digest(self) -> str:
        """Hash of the recipe and of all shards' checksums."""
        return digest([self.manifest.recipe, [shard.checksum for shard in self.manifest.shards]])

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
        """Codec of the rows: bfloat16, float32, float16 or int8."""
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

    def gather(self, site: Site | str, ranges: Sequence[Range]) -> Coded:
        """Copies of the rows of all ranges, as stored. Raises DamagedFileError, IndexError and SiteError."""
        name = self._name(site)
        if self.codec == "int8":
            values, scale = self._gather((values_key(name), scale_key(name)), ranges)
            return Coded(values, scale)
        return Coded(*self._gather((values_key(name),), ranges))

    def read(self, site: Site | str, start: int, stop: int) -> Float[Tensor, "n width"]:
        """Rows start … stop - 1 in float32, copied."""
        return self.gather(site, [(start, stop)]).decode()

    def rows_of(self, site: Site | str, shard: int) -> Float[Tensor, "n width"]:
        """All rows of one shard in float32."""
        return self.read(site, self._starts[shard], self._starts[shard + 1])

    def tokens(self, start: int = 0, stop: int | None = None) -> Int[Tensor, " n"]:
        """Token id of each row."""
        return self._column("tokens", start, stop)

    def documents(self, start: int = 0, stop: int | None = None) -> Int[Tensor, " n"]:
        """Document id of each row."""
        return self._column("document", start, stop)

    def positions(self, start: int = 0, stop: int | None = None) -> Int[Tensor, " n"]:
        """Position of each row's token in its document."""
        return self._column("position", start, stop)

    def _name(self, site: Site | str) -> str:
        name = str(Site.parse(site))
        if name not in self.manifest.widths:
            known = ", ".join(s.short for s in self.sites)
            raise SiteError(f"The store {self.path} has no site {site}. It has: {known}. Capture the site first.")
        return name

    def _column(self, key: str, start: int, stop: int | None) -> Tensor:
        return self._gather((key,), [(start, self.rows if stop is None else stop)])[0]

    def _gather(self, keys: Sequence[str], ranges: Sequence[Range]) -> list[Tensor]:
        """The rows of all ranges under each key. A shard is open only while its rows are copied."""
        out: list[Tensor] = []
        total, at = sum(stop - start for start, stop in ranges), 0
        for index, runs in runs_by_file(self._starts, ranges):
            found = self._tensors(index, keys)
            out = out or [torch.empty((total, *tensor.shape[1:]), dtype=tensor.dtype) for tensor in found]
            after = [copy_runs(whole, at, tensor, runs) for whole, tensor in zip(out, found, strict=True)]
            at = after[0]
        return out

    def _tensors(self, index: int, keys: Sequence[str]) -> list[Tensor]:
        from safetensors import SafetensorError, safe_open

        shard = self.manifest.shards[index]
        path = self.path / shard.file
        try:
            if path.stat().st_size != shard.bytes:
                raise DamagedFileError(self._damaged(shard.file, "it is not as long as it was"))
            with safe_open(path, framework="pt") as file:
                return [file.get_tensor(key) for key in keys]
        except FileNotFoundError:
            raise DamagedFileError(self._damaged(shard.file, "it is missing")) from None
        except (SafetensorError, OSError) as error:
            raise DamagedFileError(self._damaged(shard.file, str(error))) from error

    def _damaged(self, file: str, reason: str) -> str:
        return f"The shard {self.path / file} is damaged: {reason}. Run the same capture again; it makes only this one."
