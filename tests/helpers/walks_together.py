"""Runs and sweeps in several processes, for `test_processes`: a program of its own, so that all processes of all cases
share one import.

    python walks_together.py CASES.json

Each case: a recipe, a folder, processes, shards, what is swept, and which process ends at which step without a word.
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
os.environ["MONOSEMA_QUIET"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import safetensors.torch
import torch._dynamo
from forking import together

from monosema.core import MonosemaError
from monosema.runs import Recipe, run, sweep_run
from monosema.runs.run import run_together
from monosema.training import Trainer

IMPORTED = (safetensors.torch, torch._dynamo, run_together)
"""What each process would import for itself otherwise."""


def one(case: dict[str, Any], rank: int) -> None:
    """One process of a case."""
    recipe, folder, shards = Recipe.from_toml(case["recipe"]), Path(case["folder"]), case.get("shards", 1)
    step, seen = Trainer.step, list[int]()

    def last(self: Trainer, *batches: Any) -> Any:
        seen.append(self.step_number)
        if case.get("dies") == rank and self.step_number == case["dies_at"]:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *batches)

    Trainer.step = last  # type: ignore[method-assign]
    said = folder.parent / f"{folder.name}-{case.get('processes', 1)}-{rank}.txt"
    try:
        if "sweep" in case:
            sweep_run(recipe, folder, case["sweep"], latent_shards=shards)
        else:
            run(recipe, folder, until=case["until"], latent_shards=shards)
        said.write_text(f"done from step {seen[0]}" if seen else "done")
    except MonosemaError as error:
        said.write_text(f"{type(error).__name__}: {error}")
    except Exception:
        said.write_text(traceback.format_exc())


if __name__ == "__main__":
    for each in json.loads(Path(sys.argv[1]).read_text()):
        together(each.get("processes", 1), lambda rank, case=each: one(case, rank))  # type: ignore[misc]
