"""The record of a run folder: stages.json, and the lock that keeps other processes out."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from monosema.core import DamagedFileError, RunError, read_json, sha256_file, write_json

_FORMAT = 2
_HASHED_UP_TO = 64 * 2**20

Inputs = Mapping[str, Mapping[str, Any]]
"""Inputs of a stage: under ``recipe`` the values of keys, under ``digests`` everything else, by a name for people."""


@dataclass(frozen=True)
class OutputFile:
    """A file that a stage made.

    Attributes:
        bytes: its size.
        sha256: of its content; None for large shards, whose own manifest holds their checksums.
    """

    bytes: int
    sha256: str | None

    @classmethod
    def of(cls, path: Path) -> OutputFile:
        """Measure a file."""
        size = path.stat().st_size
        return cls(size, sha256_file(path) if size <= _HASHED_UP_TO else None)


@dataclass(frozen=True)
class StageRecord:
    """The entry of a stage in stages.json.

    Attributes:
        state: ``running`` from the first moment to the last; a killed stage stays ``running``.
        inputs: what it was made from; one digest of all where an earlier version of monosema wrote the entry.
        seconds: time it took, over all processes that worked on it and ended in order.
        counts: what it counted: tokens, features, steps …
        versions: of monosema and of the libraries that computed the result.
        outputs: the files it made, by path inside the run folder.
    """

    state: Literal["running", "done"]
    inputs: Inputs | str
    seconds: float = 0.0
    counts: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, OutputFile] = field(default_factory=dict)


class Ledger:
    """The stages of one run folder, as stages.json holds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "stages.json"

    def records(self) -> dict[str, StageRecord]:
        """All stages that were ever begun here, by name. Raises DamagedFileError where stages.json can't be read."""
        if not self.path.exists():
            return {}
        content = read_json(self.path)
        try:
            return {name: _record(values) for name, values in content["stages"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise DamagedFileError(
                f"{self.path} is not a table of stages ({error}). Remove it: the run then makes its stages again."
            ) from None

    def write(self, name: str, record: StageRecord) -> None:
        """Write one stage's entry, atomically."""
        stages = {key: asdict(value) for key, value in self.records().items()}
        stages[name] = asdict(record)
        write_json(self.path, {"format": _FORMAT, "stages": stages})

    def damage(self, record: StageRecord) -> list[str]:
        """Name the files of a finished stage that are missing or not as they were written."""
        found = []
        for name, written in record.outputs.items():
            path = self.folder / name
            if not path.exists():
                found.append(f"{name} is missing")
            elif path.stat().st_size != written.bytes:
                found.append(f"{name} has {path.stat().st_size} bytes instead of {written.bytes}")
            elif written.sha256 is not None and sha256_file(path) != written.sha256:
                found.append(f"{name} doesn't match its checksum")
        return found

    def measure(self, paths: Iterable[Path]) -> dict[str, OutputFile]:
        """Measure the files among and below the paths, by path inside the run folder."""
        files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
        kept = [file for file in files if file.is_file() and not file.name.startswith(".")]
        return {file.relative_to(self.folder).as_posix(): OutputFile.of(file) for file in kept}


def versions() -> dict[str, str]:
    """Return the versions of Python, monosema and the libraries whose arithmetic the results depend on."""
    names = ("monosema", "torch", "numpy", "tokenizers", "pyarrow", "duckdb")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _record(values: dict[str, Any]) -> StageRecord:
    outputs = {name: OutputFile(**file) for name, file in values.pop("outputs").items()}
    return StageRecord(**values, outputs=outputs)


@contextlib.contextmanager
def run_lock(folder: str | Path) -> Iterator[None]:
    """Hold the run folder while the block runs. The system lets go of it when the process ends, however it ends.

    Raises:
        RunError: another process holds it.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / ".lock-owner"
    lock = FileLock(folder / ".lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        who = owner.read_text(encoding="utf-8").strip() if owner.exists() else "unknown"
        raise RunError(
            f"Another process (id {who}) is working on the run folder {folder}. "
            "Wait until it ends, stop it, or choose another folder with --out."
        ) from None
    try:
        owner.write_text(f"{os.getpid()}\n", encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
