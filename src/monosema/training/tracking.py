"""Records of a run outside of metrics.jsonl: TensorBoard, Weights & Biases, any object that takes metrics."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from monosema.core import MissingExtraError, atomic_path


@runtime_checkable
class Tracker(Protocol):
    """Receives the metrics that go to metrics.jsonl."""

    def record(self, run: str, metrics: Mapping[str, float | int]) -> None:
        """Record metrics of one dictionary of a run after a step; the name of a single one is empty."""
        ...

    def close(self) -> None:
        """End the record: the run has ended, or was interrupted."""
        ...


class TensorBoard:
    """Event files for TensorBoard, in a folder of its own. Steps that a killed process wrote beyond its checkpoint
    are marked as such."""

    def __init__(self, folder: Path) -> None:
        """Raise MissingExtraError without tensorboard."""
        _require("tensorboard")
        self._folder = folder
        self._writer: Any = None

    def record(self, run: str, metrics: Mapping[str, float | int]) -> None:
        """Write metrics."""
        from torch.utils.tensorboard import SummaryWriter

        step = int(metrics["step"])
        if self._writer is None:
            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        for name, value in metrics.items():
            if name != "step":
                self._writer.add_scalar(f"{run}/{name}" if run else name, value, step)

    def close(self) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases: offline, unless the environment variable WANDB_MODE says otherwise.

    Project, name and group are those of its environment variables. A training that was killed and goes on is the same
    run: its id lies among the checkpoints until the training has ended. Offline each process leaves a folder; send them
    in their order, the later ones with ``wandb sync --append``. Steps that were recorded before are passed over.
    """

    def __init__(self, folder: Path) -> None:
        """Raise MissingExtraError without wandb."""
        _require("wandb")
        self._folder = folder
        self._run: Any = None

    def record(self, run: str, metrics: Mapping[str, float | int]) -> None:
        """Log metrics."""
        if self._run is None:
            wandb: Any = importlib.import_module("wandb")
            self._folder.mkdir(parents=True, exist_ok=True)
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "monosema"),
                name=os.environ.get("WANDB_NAME", self._folder.name),
                dir=str(self._folder),
                mode=os.environ.get("WANDB_MODE", "offline"),
                id=self._id(),
                resume="allow",
            )
        step = int(metrics["step"])
        self._run.log({f"{run}/{name}" if run else name: value for name, value in metrics.items()}, step=step)

    def _id(self) -> str:
        """Return the id of the training that goes on, or a new one, written down."""
        path = self._folder / "checkpoint" / "wandb-run"
        if path.is_file() and re.fullmatch(
            r"[0-9a-f]{16}", known := path.read_text(encoding="utf-8", errors="replace")
        ):
            return known
        new = uuid.uuid4().hex[:16]
        with atomic_path(path) as temporary:
            temporary.write_text(new, encoding="utf-8")
        return new

    def close(self) -> None:
        """End the run, or this process's part of it."""
        if self._run is not None:
            self._run.finish()


_KINDS: Mapping[str, Callable[[Path], Tracker]] = {
    "tensorboard": lambda out: TensorBoard(out / "tensorboard"),
    "wandb": WeightsAndBiases,
}


def trackers_of(names: Sequence[str], out: Path) -> list[Tracker]:
    """Return the trackers that a configuration names, on a run's folder. Raises MissingExtraError."""
    return [_KINDS[name](out) for name in names]


def _require(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        raise MissingExtraError(library, "track")
