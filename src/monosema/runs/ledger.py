"""What is done in a run folder, and from what it was made: stages.json."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from monosema.core import DamagedFileError, read_json, sha256_file, write_json

_FORMAT = 1
_HASHED_UP_TO = 64 * 2**20


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
    """One stage's line in stages.json.

    Attributes:
        state: ``running`` from its first moment until its last; a killed stage stays ``running``.
        inputs: digest of all that its result depends on.
        seconds: time it took, over all processes that worked on it and ended in order.
        counts: what it counted: tokens, features, steps …
        versions: of monosema and of the libraries that computed the result.
        outputs: the files it made, by path inside the run folder.
    """

    state: Literal["running", "done"]
    inputs: str
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
        """Put one stage's line down, atomically."""
        stages = {key: asdict(value) for key, value in self.records().items()}
        stages[name] = asdict(record)
        write_json(self.path, {"format": _FORMAT, "stages": stages})

    def damage(self, record: StageRecord) -> list[str]:
        """Say which of a finished stage's files are missing or not what was written; empty when all are right."""
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
        """The files among and below the paths, by path inside the run folder."""
        files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
        kept = [file for file in files if file.is_file() and not file.name.startswith(".")]
        return {file.relative_to(self.folder).as_posix(): OutputFile.of(file) for file in kept}


def versions() -> dict[str, str]:
    """Versions of Python, monosema and the libraries whose arithmetic the results depend on."""
    names = ("monosema", "torch", "numpy", "tokenizers", "pyarrow", "duckdb")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _record(values: dict[str, Any]) -> StageRecord:
    outputs = {name: OutputFile(**file) for name, file in values.pop("outputs").items()}
    return StageRecord(**values, outputs=outputs)
