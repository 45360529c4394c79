"""Trackers: what they receive, and what is said where their library is missing."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from topk_on_file import train_on_vectors

from monosema.core import MissingExtraError
from monosema.training import TrainConfig
from monosema.training.checkpoint import Checkpoints
from monosema.training.tracking import Tracker, trackers_of


class Kept:
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Mapping[str, float | int]]] = []
        self.closed = False

    def record(self, member: str, figures: Mapping[str, float | int]) -> None:
        self.lines.append((member, figures))

    def close(self) -> None:
        self.closed = True


def test_trackers_receive_what_metrics_jsonl_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    assert isinstance(kept, Tracker)
    monkeypatch.setattr("monosema.training.trainer.trackers_of", lambda names, out: [kept] if names else [])
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(600, 8)).astype("float32"))
    config = TrainConfig(log_every=2, track=("wandb",))
    train_on_vectors(tmp_path / "x.npy", latents=16, k=2, batch=50, out=tmp_path / "d", config=config)
    written = [json.loads(line) for line in (tmp_path / "d" / "metrics.jsonl").read_text().splitlines()]
    assert [dict(figures) for _, figures in kept.lines] == written
    assert kept.closed


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_missing_library_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("monosema.training.tracking.importlib.util.find_spec", lambda library: None)
    with pytest.raises(MissingExtraError, match=rf"'{name}'.*pip install 'monosema\[track\]'"):
        trackers_of([name], tmp_path)


def test_where_to_track_is_no_part_of_the_recipe() -> None:
    assert TrainConfig(track=("wandb",)).recipe() == TrainConfig().recipe()


def test_trackers_are_opened_in_the_folder_when_first_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosema.training.tracking.importlib.util.find_spec", lambda library: library)
    opened: Any = trackers_of(["wandb", "tensorboard"], tmp_path)
    for tracker in opened:
        tracker.close()
    assert list(tmp_path.iterdir()) == []


class FakeRun:
    def log(self, figures: Mapping[str, float], step: int) -> None: ...

    def finish(self) -> None: ...


def test_a_training_that_goes_on_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has ended, and the checkpoints are gone."""
    asked: list[Any] = []

    def init(**settings: Any) -> FakeRun:
        asked.append((settings["id"], settings["resume"]))
        return FakeRun()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    monkeypatch.setattr("monosema.training.tracking.importlib.util.find_spec", lambda library: library)

    def process() -> None:
        (tracker,) = trackers_of(["wandb"], tmp_path)
        tracker.record("", {"step": 1, "fvu": 0.5})
        tracker.close()

    process()
    process()
    (tmp_path / "checkpoint" / "wandb-run").write_text("rubbish\n")
    process()
    Checkpoints(tmp_path / "checkpoint", 1).clear()
    process()
    assert asked[0] == asked[1]
    assert len({*asked}) == 3
    assert all(resume == "allow" for _, resume in asked)
