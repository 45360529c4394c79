"""Weights & Biases offline, and TensorBoard: a run's figures, read back through the libraries themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
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


TRAINING = """
import sys

from monosema.training import TrainConfig
from topk_on_file import train_on_vectors

config = TrainConfig(log_every=5, checkpoint_steps=20, track=("wandb",))
train_on_vectors(sys.argv[1], latents=256, k=4, batch=50, passes=10, out=sys.argv[2], config=config)
"""


def recorded_steps(path: Path) -> list[int]:
    """Steps in a .wandb file: records in blocks of 32 KiB, each behind a checksum, a length and a kind."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, parts, steps = path.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or a record's last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            steps += [record.history.step.num] if record.HasField("history") else []
    return steps


def test_a_killed_training_goes_on_in_the_same_run(tmp_path: Path) -> None:
    """Its process is killed in the middle; the next one's record has the same id and the steps that were missing."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(3000, 32)).astype("float32"))
    out = tmp_path / "d"
    command = [sys.executable, "-W", "ignore", "-c", TRAINING, str(tmp_path / "x.npy"), str(out)]
    # Without the service that other tests of this process began, which would think that the killed run goes on.
    quiet = {name: value for name, value in os.environ.items() if "WANDB" not in name}
    quiet |= {"WANDB_SILENT": "true", "WANDB_MODE": "offline"}
    quiet["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1] / "helpers"), quiet.get("PYTHONPATH", "")])
    first = subprocess.Popen(command, env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((out / "checkpoint").glob("step-*")) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert first.poll() is None, "it ended before it could be killed"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    again = subprocess.run(command, env=quiet, check=False, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr[-2000:]
    folders = sorted((out / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    assert len({folder.name.rpartition("-")[2] for folder in folders}) == 1
    assert not (out / "checkpoint").exists()

    assert max(recorded_steps(next(folders[1].glob("*.wandb")))) == 10 * 2700 // 50
