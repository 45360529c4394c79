"""Trains small dictionaries in several processes, for `test_distribution`: a program of its own, so that all processes
of all cases share one import.

    python distributed_runs.py CASES.json

Each case: architecture, processes, shards, folder, and what happens on the way. Prints a JSON object for each: the
seconds that its processes took, what they raised, and the checkpoints that they left.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

os.environ["MONOSEMA_BF16"] = "0"
os.environ["MONOSEMA_INT8"] = "0"
os.environ["OMP_NUM_THREADS"] = "1"

import safetensors.torch
import torch
import torch._dynamo
from forking import together

from monosema.activations import StoreStream, open_rows
from monosema.core import MonosemaError
from monosema.dictionaries import make_coder
from monosema.training import TrainConfig, train
from monosema.training.distribution import Mesh

IMPORTED = (safetensors.torch, torch._dynamo)
"""What each process would import for itself otherwise, when it makes an optimiser and when it saves."""
WIDTH, LATENTS, BATCH = 16, 256, 64

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "topk": ("topk", {"k": 2, "resample_at": (), "start": "random"}),
    "topk resampled": ("topk", {"k": 2}),
    "multi_topk": ("topk", {"k": 2, "resample_at": (), "multi_coefficient": 0.125}),
    "batch_topk resampled": ("batch_topk", {"k": 2}),
    "batch_topk": ("batch_topk", {"k": 2, "resample_at": ()}),
    "matryoshka": ("matryoshka", {"k": 2}),
    "muon": ("topk", {"k": 2}),
    "l1": ("l1", {"recipe": "2023"}),
    "tied": ("tied_l1", {}),
    "p_anneal": ("p_anneal", {}),
    "gated": ("gated", {}),
    "jumprelu": ("jumprelu", {}),
    "l1 at 8": ("l1", {}),
}


def rows(number: int) -> torch.Tensor:
    """Sparse sums of more directions than latents, of mean norm √d."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(200, WIDTH, generator=generator)
    drawn = (torch.randn(number, 200, generator=generator) - 1.8).relu() @ directions
    return drawn / drawn.norm(dim=1).mean() * WIDTH**0.5


class Dying(StoreStream):
    """A stream that ends its process, without a word, at a batch."""

    last = 0

    def next_batch(self) -> torch.Tensor:
        if self.last and self._given == self.last:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().next_batch()


def one(case: dict[str, Any], rank: int) -> None:
    """Run one process of a case."""
    mesh = Mesh.join(case.get("shards", 1), patience=20.0)
    name, values = ARCHITECTURES[case["architecture"]]
    made = make_coder(name, WIDTH, LATENTS, seed=0, **values)
    stream = Dying(open_rows(case["rows"]), batch=BATCH, seed=1)
    if case.get("dies") == rank:
        stream.last = case["dies_at"]
    settings = TrainConfig(
        lr=case.get("lr", 3e-3),
        optimiser=case.get("optimiser", "adam"),
        target_l0=case.get("target_l0"),
        log_every=5,
        start_rows=1024,
        checkpoint_steps=case.get("checkpoint_steps"),
    )
    out = Path(case["folder"])
    out.mkdir(parents=True, exist_ok=True)
    try:
        train(made, stream, settings, out, mesh=mesh)
    except MonosemaError as error:
        (out / f"error-{rank}.txt").write_text(f"{type(error).__name__}: {error}")
    except Exception:
        (out / f"error-{rank}.txt").write_text(traceback.format_exc())


def run(case: dict[str, Any]) -> dict[str, Any]:
    """Run all processes of a case."""
    seconds, out = together(case.get("processes", 1), lambda rank: one(case, rank)), Path(case["folder"])
    errors = sorted(out.glob("error-*.txt"))
    raised = [path.read_text() for path in errors]
    for path in errors:
        path.unlink()
    checkpoints = sorted(path.name for path in out.glob("checkpoint/step-*"))
    return {"seconds": seconds, "raised": raised, "checkpoints": checkpoints}


if __name__ == "__main__":
    cases = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps([run(case) for case in cases]))
