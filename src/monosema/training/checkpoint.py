"""Checkpoints: the whole state of a run, so that it goes on as if it had never been interrupted.

    checkpoint/step-00001200/state.safetensors     of each run: parameters, counters, optimiser state
    checkpoint/step-00001200/state.json            step, recipe, streams' positions, runs, checksum of the tensors

A checkpoint is written beside and renamed into place, so that a kill leaves either all of it or nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from monosema.core import MonosemaError, atomic_path, read_json, sha256_file, write_json

TENSORS, FACTS = "state.safetensors", "state.json"


@dataclass(frozen=True)
class RunState:
    """State of one dictionary of a run, but for its tensors.

    Attributes:
        metrics_bytes: length of its metrics.jsonl.
        fvu: running mean of its training FVU; None before the first record.
        stopped: the reason for which it was stopped; None while it goes on.
        target: state of the coefficient that follows a target (`TargetL0`); None where it is constant.
    """

    metrics_bytes: int = 0
    fvu: float | None = None
    stopped: str | None = None
    target: tuple[float, float | None] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a run.

    Attributes:
        step: steps that are done.
        recipe: digest of the run's recipe.
        streams: the streams' states.
        runs: the dictionaries, in order.
        tensors: of run 0, parameters and counters as ``0.dictionary.*`` and optimiser state as ``0.optimiser.*``.
    """

    step: int
    recipe: str
    streams: list[dict[str, Any]] = field(default_factory=list)
    runs: list[RunState] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def fvu(self) -> float | None:
        """Mean of the running FVU of the runs that go on; None where one has none yet."""
        found = [run.fvu for run in self.runs if run.stopped is None]
        known = [fvu for fvu in found if fvu is not None]
        return sum(known) / len(known) if known and len(known) == len(found) else None

    def tensors_of(self, run: int) -> dict[str, Tensor]:
        """Return one run's tensors, without its number."""
        prefix = f"{run}."
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}

    def alone(self, run: int, stream: int, recipe: str) -> Checkpoint:
        """Return the checkpoint that one run, on one stream, would have written by itself."""
        tensors = {f"0.{name}": tensor for name, tensor in self.tensors_of(run).items()}
        return Checkpoint(self.step, recipe, [self.streams[stream]], [self.runs[run]], tensors)


class Checkpoints:
    """The checkpoints of a run: the newest `keep` of them, and the best."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint and remove those that are neither among the newest nor the best.

        Raises DiskFullError; earlier ones stay then.
        """
        from safetensors.torch import save_file

        final = self.folder / f"step-{checkpoint.step:08d}"
        building = self.folder / f".{final.name}.building"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        try:
            with atomic_path(building / TENSORS) as temporary:
                save_file(_apart(checkpoint.tensors), str(temporary))
            facts = {
                "step": checkpoint.step,
                "recipe": checkpoint.recipe,
                "streams": checkpoint.streams,
                "members": [asdict(run) for run in checkpoint.runs],
                "fvu": checkpoint.fvu,
                "sha256": sha256_file(building / TENSORS),
            }
            write_json(building / FACTS, facts)
            shutil.rmtree(final, ignore_errors=True)
            building.rename(final)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        best = self.best()
        for old in self.paths()[: -self.keep]:
            if old != best:
                shutil.rmtree(old, ignore_errors=True)
        return final

    def paths(self) -> list[Path]:
        """Return the checkpoints' folders, oldest first."""
        return sorted(self.folder.glob("step-*")) if self.folder.is_dir() else []

    def best(self) -> Path | None:
        """Return the folder of the checkpoint with the lowest running FVU; None where none has one."""
        known = [(fvu, path) for path in self.paths() if (fvu := _fvu(path)) is not None]
        return min(known)[1] if known else None

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, passing over damaged ones; None where there is none."""
        for path in reversed(self.paths()):
            try:
                return self._read(path)
            except (MonosemaError, OSError, KeyError, TypeError, ValueError):
                continue
        return None

    def clear(self) -> None:
        """Remove all checkpoints, when the run has ended well."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _read(path: Path) -> Checkpoint:
        from safetensors.torch import load_file

        facts = read_json(path / FACTS)
        if sha256_file(path / TENSORS) != facts["sha256"]:
            raise ValueError(f"{path / TENSORS} does not match its checksum")
        runs = [RunState(**run) for run in facts["members"]]
        tensors = load_file(str(path / TENSORS))
        return Checkpoint(facts["step"], facts["recipe"], facts["streams"], runs, tensors)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with a copy of each that shares another's memory, as tied weights do: the format has none."""
    seen, apart = set[int](), dict[str, Tensor]()
    for name, tensor in tensors.items():
        at = tensor.data_ptr()
        apart[name] = tensor.clone() if at in seen and tensor.numel() else tensor
        seen.add(at)
    return apart


def _fvu(path: Path) -> float | None:
    try:
        return read_json(path / FACTS).get("fvu")
    except (MonosemaError, OSError, ValueError):
        return None
