"""Killed at any moment, the same command goes on and ends with the same tables."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, Recipe, Run, apply_overrides, run

KILLS = 3
FOLDERS = 10


def work(toml: str, folder: str) -> None:
    os.environ["MONOSEMA_QUIET"] = "1"
    import torch

    torch.set_num_threads(1)
    run(Recipe.from_toml(toml), folder)


def tables(finished: Run) -> dict[str, Any]:
    """All rows of all tables of the atlas, and the evaluation."""
    atlas = finished.atlas()
    rows: dict[str, Any] = {}
    for name in ("features", "examples", "histograms", "neighbours", "explanations", "scores"):
        rows[name] = atlas.sql(f"select * from {name} order by all")
    return {**rows, "evaluation": finished.evaluation()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_random_times_it_goes_on_to_the_same_tables(small_keys: dict[str, str], tmp_path: Path) -> None:
    keys = {**small_keys, "training.checkpoint_steps": "3", "training.log_every": "2", "passes": "2"}
    recipe = apply_overrides(demo(), keys, SHORT_KEYS)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["monosema.runs.run", "monosema.recipes.demo"])

    def attempt(folder: Path, seconds: float | None) -> int:
        process = context.Process(target=work, args=(recipe.to_toml(), str(folder)))
        process.start()
        process.join(seconds)
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        return process.exitcode or 0

    began = time.monotonic()
    assert attempt(tmp_path / "whole", None) == 0
    whole = time.monotonic() - began
    truth = tables(Run.open(tmp_path / "whole"))
    draw = random.Random(0)
    killed = 0
    # A run that ends before it could be killed is followed by another: how fast they are is the machine's to say.
    # Some of the times must be enough to start again and end a stage, or a run would be killed there for ever.
    for number in range(FOLDERS):
        folder = tmp_path / f"killed-{number}"
        while attempt(folder, draw.uniform(0.1, 1.0) * whole) == -signal.SIGKILL:
            killed += 1
        assert tables(Run.open(folder)) == truth
        assert [path.name for path in folder.rglob(".*.tmp")] == []
        if killed >= KILLS:
            break
    assert killed >= KILLS, "the runs were too quick to be killed"
