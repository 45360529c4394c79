"""Weights & Biases offline, and TensorBoard: a run's figures, read back through the libraries themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from monosema.training.tracking import trackers_of

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]


def test_tensorboard_reads_what_was_recorded(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tracker,) = trackers_of(["tensorboard"], tmp_path)
    for step in (5, 10):
        tracker.record("", {"step": step, "fvu": 1 / step})
        tracker.record("k=4", {"step": step, "fvu": 2 / step})
    tracker.close()
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(event.step, round(event.value, 3)) for event in found.Scalars("fvu")] == [(5, 0.2), (10, 0.1)]
    assert [event.step for event in found.Scalars("k=4/fvu")] == [5, 10]


def test_weights_and_biases_records_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tracker,) = trackers_of(["wandb"], tmp_path)
    for step in (5, 10):
        tracker.record("", {"step": step, "fvu": 1 / step})
    tracker.close()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(folder.glob("*.wandb"))
