"""Checkpoints: all that a run needs to go on as if nothing had happened.

    checkpoint/step-00001200/state.safetensors     parameters, counters, optimiser state
    checkpoint/step-00001200/state.json            step, recipe, stream position, checksum of the tensors

A checkpoint is written beside and renamed into place, so that a kill leaves either all of it or nothing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from monosema.core import MonosemaError, atomic_path, read_json, sha256_file, write_json

__all__ = ["Checkpoint", "Checkpoints"]

TENSORS, FACTS = "state.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a run.

    Attributes:
        step: steps that are done.
        recipe: digest of the run's recipe.
        stream: the stream's state.
        metrics_bytes: length of metrics.jsonl at that moment.
        tensors: parameters and counters as ``dictionary.*``, optimiser state as ``optimiser.<number>.*``.
    """

    step: int
    recipe: str
    stream: dict[str, Any]
    metrics_bytes: int
    tensors: dict[str, Tensor]


class Checkpoints:
    """The checkpoints of a run, the newest `keep` of them."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint and remove those beyond the newest ones. Raises DiskFullError; earlier ones stay then."""
        from safetensors.torch import save_file

        final = self.folder / f"step-{checkpoint.step:08d}"
        building = self.folder / f".{final.name}.building"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        try:
            with atomic_path(building / TENSORS) as temporary:
                save_file(checkpoint.tensors, str(temporary))
            facts = {
                "step": checkpoint.step,
                "recipe": checkpoint.recipe,
                "stream": checkpoint.stream,
                "metrics_bytes": checkpoint.metrics_bytes,
                "sha256": sha256_file(building / TENSORS),
            }
            write_json(building / FACTS, facts)
            shutil.rmtree(final, ignore_errors=True)
            building.rename(final)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        for old in self.paths()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        return final

    def paths(self) -> list[Path]:
        """Folders of the checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*")) if self.folder.is_dir() else []

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; a damaged one is passed over. None where there is none."""
        for path in reversed(self.paths()):
            try:
                return self._read(path)
            except (MonosemaError, OSError, KeyError, ValueError):
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
        tensors = load_file(str(path / TENSORS))
        return Checkpoint(facts["step"], facts["recipe"], facts["stream"], facts["metrics_bytes"], tensors)
