"""The record of a run, and metrics of a dictionary on rows that it was not trained on."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.dictionaries import Dictionary, Trainable


class MetricsFile:
    """metrics.jsonl, one JSON object per line; cut back to the checkpoint on resume so that no step is there twice."""

    def __init__(self, path: Path, keep_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab")  # noqa: SIM115 - open as long as the run
        self._file.truncate(min(keep_bytes, os.path.getsize(path)))

    def write(self, **metrics: float | int) -> None:
        """Append a line and hand it to the operating system."""
        self._file.write((json.dumps(metrics) + "\n").encode())
        self._file.flush()

    @property
    def bytes(self) -> int:
        """Length so far."""
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True)
class HeldOut:
    """Metrics on held-out rows.

    Attributes:
        fvu: Σ‖x − x̂‖² / Σ‖x − x̄‖², with x̄ the mean of these rows; None where all rows are equal. For transcoders,
            of their targets.
        l0: mean number of active latents.
        alive: share of latents active on at least one row.
    """

    fvu: float | None
    l0: float
    alive: float


@torch.no_grad()
def held_out_metrics(dictionary: Dictionary, rows: Float[Tensor, "n row_width"], block: int = 1024) -> HeldOut:
    """Measure a dictionary on rows, in blocks; sums in float64. Changes nothing.

    Args:
        rows: as those of the training stream, in the model's units: for a transcoder, inputs and targets side by side.
    """
    mean = inputs_and_targets(dictionary, rows)[1].mean(dim=0, dtype=torch.float64)
    error = variance = active = 0.0
    counts = torch.zeros(dictionary.n_latents, dtype=torch.int64, device=rows.device)
    for part in rows.split(block):
        x, y = inputs_and_targets(dictionary, part)
        codes = dictionary.encode(x)
        error += float((y - dictionary.decode(codes)).to(torch.float64).square().sum())
        variance += float((y - mean).square().sum())
        counts += codes.counts()
        active += float(codes.l0.sum())
    return HeldOut(
        error / variance if variance > 0 else None, active / max(len(rows), 1), float((counts > 0).float().mean())
    )


def inputs_and_targets(dictionary: Dictionary, rows: Float[Tensor, "n row_width"]) -> tuple[Tensor, Tensor]:
    """Split rows of a dictionary's training stream into what it reads and what it is to write; the same rows twice
    where it is a baseline."""
    return dictionary.inputs_and_targets(rows) if isinstance(dictionary, Trainable) else (rows, rows)
