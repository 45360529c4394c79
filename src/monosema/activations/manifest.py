"""The manifest of a store: the recipe it was captured with, its shards and their checksums, and what was left out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosema.core import DamagedFileError, RunError, checksum_file, read_json, write_json

FILE = "manifest.json"
FORMAT = "monosema-activations"
VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRecord:
    """One finished file of rows.

    Attributes:
        file: its name in the store's folder.
        rows: rows in it.
        first_batch, batches: which token batches it holds.
        tokens: tokens in those batches, padding not counted.
        sinks: of these, tokens left out because attention comes to rest there (BOS, EOS).
        extreme: of the rest, tokens left out because of their extreme norm, by site; a token that is extreme at
            several sites counts at each.
        extreme_tokens: tokens left out because of an extreme norm at any site.
        bytes, checksum: size and XXH3-128 of the file.
    """

    file: str
    rows: int
    first_batch: int
    batches: int
    tokens: int
    sinks: int
    extreme: dict[str, int]
    extreme_tokens: int
    bytes: int
    checksum: str

    def intact(self, folder: Path, *, checksum: bool = True) -> bool:
        """Check that the file is there as it was written; without `checksum` only its size is compared."""
        path = folder / self.file
        if not path.is_file() or path.stat().st_size != self.bytes:
            return False
        return not checksum or checksum_file(path) == self.checksum


@dataclass(kw_only=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        recipe: all that decides the rows; another recipe can't go on with this store.
        widths: values in a row, by site.
        typical_norms: median norm of the first batch's rows, by site; "extreme" means many times this.
        errors: what each kind of codec costs, measured on rows of the first batch, by site and kind.
        shards: finished files in order; while a capture runs or a damaged one is made again, some may be missing.
        complete: whether the text was read to its end.
        about: names of the model (`model`, and `other_model` of two) and of the text (`dataset`), and whether a window
            begins with a token of its own (`prepend_bos`), for the metadata of dictionaries; empty in older stores.
    """

    recipe: dict[str, Any]
    widths: dict[str, int] = field(default_factory=dict)
    typical_norms: dict[str, float] = field(default_factory=dict)
    errors: dict[str, dict[str, dict[str, float | str]]] = field(default_factory=dict)
    shards: list[ShardRecord] = field(default_factory=list)
    complete: bool = False
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows in all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def counts(self) -> dict[str, Any]:
        """Tokens read, rows stored, and tokens left out for each reason."""
        extreme = {name: sum(shard.extreme.get(name, 0) for shard in self.shards) for name in self.widths}
        return {
            "tokens": sum(shard.tokens for shard in self.shards),
            "rows": self.rows,
            "sinks": sum(shard.sinks for shard in self.shards),
            "extreme_tokens": sum(shard.extreme_tokens for shard in self.shards),
            "extreme": extreme,
        }

    def put(self, record: ShardRecord) -> None:
        """Add a finished shard, or take the place of the damaged one of the same name."""
        others = [shard for shard in self.shards if shard.file != record.file]
        self.shards = sorted([*others, record], key=lambda shard: shard.first_batch)

    def write(self, folder: Path) -> None:
        """Write manifest.json atomically."""
        values = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self), "counts": self.counts}
        write_json(folder / FILE, values)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of a store, or None where there is no store. Raises DamagedFileError and RunError."""
        path = folder / FILE
        if not path.exists():
            return None
        values = read_json(path)
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise RunError(f"{path} is not the manifest of a store of activations.")
        if values["version"] != VERSION:
            raise RunError(f"{path} is of version {values['version']}; this monosema reads version {VERSION}.")
        try:
            shards = [ShardRecord(**shard) for shard in values["shards"]]
            own = {name: values[name] for name in ("recipe", "widths", "typical_norms", "errors", "complete")}
        except (KeyError, TypeError) as error:
            raise DamagedFileError(f"{path} lacks an entry ({error}). Remove the folder and capture again.") from None
        return cls(shards=shards, about=values.get("about", {}), **own)


def differences(have: dict[str, Any], want: dict[str, Any], prefix: str = "") -> list[str]:
    """``key: this store has A, asked was B`` for every leaf in which two recipes differ."""
    lines = []
    for key in sorted(set(have) | set(want)):
        a, b = have.get(key), want.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: the store has {a!r}, asked for is {b!r}")
    return lines


def checksum_of(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Hexadecimal XXH3-128 of a safetensors file that holds these tensors, without reading them back.

    The header is read from the file: its length in eight bytes, then JSON that says in which order the tensors follow.
    A file that was not written as it should be has another checksum when it is read (`checksum_file`).
    """
    import xxhash

    with open(path, "rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little"))
    state = xxhash.xxh3_128(length + header)
    entries = {name: entry for name, entry in json.loads(header).items() if name in tensors}
    for name in sorted(entries, key=lambda name: entries[name]["data_offsets"]):
        state.update(tensors[name].contiguous().view(torch.uint8).numpy().data)
    return str(state.hexdigest())
