"""A run that was killed goes on as if nothing had happened: equal weights, to the last bit."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from topk_on_file import train_on_vectors

from monosema.core import RunError
from monosema.dictionaries import make_coder
from monosema.training import TrainConfig
from monosema.training.checkpoint import Checkpoint, Checkpoints, RunState
from monosema.training.trainer import Trainer


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    path = tmp_path / "x.npy"
    np.save(path, (generator.standard_normal((1200, 6)) @ generator.standard_normal((6, 12)) + 2).astype("float32"))
    return path


def run(vectors: Path, out: Path, kill_after: int | None = None) -> int:
    """Train in a process of its own; kill it some time after so many steps. Gives its exit status."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        step = Trainer.step

        def slow(self: Trainer, *batches: torch.Tensor) -> object:
            time.sleep(0.0 if kill_after is None else 0.02)
            losses = step(self, *batches)
            os.write(writing, b".")
            return losses

        Trainer.step = slow  # type: ignore[method-assign, assignment]
        config = TrainConfig(checkpoint_steps=4, log_every=5, seed=7)
        train_on_vectors(vectors, latents=64, k=4, batch=100, out=out, passes=3, config=config)
        os._exit(0)
    os.close(writing)
    steps = 0
    with os.fdopen(reading, "rb", buffering=0) as said:
        while said.read(1):
            steps += 1
            if steps == kill_after:
                time.sleep(0.01 * steps)
                os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def test_killed_at_any_moment_the_weights_are_equal_to_the_bit(vectors: Path, tmp_path: Path) -> None:
    assert run(vectors, tmp_path / "whole") == 0
    out = tmp_path / "killed"
    for steps in (3, 6, 9):
        assert run(vectors, out, kill_after=steps) == signal.SIGKILL
        assert not (out / "cfg.json").exists(), "nothing looks finished that is not"
    assert run(vectors, out) == 0
    for name in ("sae_weights.safetensors", "cfg.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    steps_of = [
        [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (out, tmp_path / "whole")
    ]
    assert steps_of[0] == steps_of[1], "no step is recorded twice or left out"


def interrupted(vectors: Path, out: Path, monkeypatch: pytest.MonkeyPatch, at: int = 10, **config: object) -> None:
    step = Trainer.step

    def stop(self: Trainer, batch: torch.Tensor) -> object:
        if self.step_number == at:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", stop)
        train_on_vectors(
            vectors, latents=64, k=4, batch=100, out=out, passes=3, config=TrainConfig(checkpoint_steps=4, **config)
        )


def test_goes_on_from_the_checkpoint(vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(vectors, tmp_path / "a", monkeypatch)
    assert [path.name for path in Checkpoints(tmp_path / "a" / "checkpoint", 2).paths()] == [
        "step-00000004",
        "step-00000008",
    ]
    steps = []
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, batch: (steps.append(self.step_number), step(self, batch))[1])
    train_on_vectors(
        vectors, latents=64, k=4, batch=100, out=tmp_path / "a", passes=3, config=TrainConfig(checkpoint_steps=4)
    )
    assert steps[0] == 8
    train_on_vectors(vectors, latents=64, k=4, batch=100, out=tmp_path / "b", passes=3)
    weights = "sae_weights.safetensors"
    assert (tmp_path / "a" / weights).read_bytes() == (tmp_path / "b" / weights).read_bytes()


def test_a_damaged_checkpoint_is_passed_over(vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(vectors, tmp_path / "a", monkeypatch)
    newest = tmp_path / "a" / "checkpoint" / "step-00000008" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-7])
    checkpoint = Checkpoints(tmp_path / "a" / "checkpoint", 2).newest()
    assert checkpoint is not None
    assert checkpoint.step == 4


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 0.5}, {"decay": 0.1}])
def test_a_checkpoint_of_another_recipe_is_refused(
    vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, float]
) -> None:
    interrupted(vectors, tmp_path / "a", monkeypatch)
    with pytest.raises(RunError, match="another recipe"):
        train_on_vectors(
            vectors, latents=64, k=4, batch=100, out=tmp_path / "a", passes=3, config=TrainConfig(**change)
        )


def test_how_often_to_log_is_no_part_of_the_recipe(
    vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(vectors, tmp_path / "a", monkeypatch)
    config = TrainConfig(log_every=3, keep=1, checkpoint_steps=7)
    train_on_vectors(vectors, latents=64, k=4, batch=100, out=tmp_path / "a", passes=3, config=config)


def test_other_vectors_are_refused(vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(vectors, tmp_path / "a", monkeypatch)
    np.save(vectors, np.load(vectors) + 1)
    with pytest.raises(RunError):
        train_on_vectors(vectors, latents=64, k=4, batch=100, out=tmp_path / "a", passes=3)


def test_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", 2)
    for step in (1, 2, 10):
        tensors = {"0.dictionary.w": torch.full((3,), float(step))}
        checkpoints.save(Checkpoint(step, "r", [{"given": step}], [RunState()], tensors))
    assert [path.name for path in checkpoints.paths()] == ["step-00000002", "step-00000010"]
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.streams == [{"given": 10}]
    assert newest.tensors_of(0)["dictionary.w"].tolist() == [10.0] * 3


def test_the_best_checkpoint_is_kept_besides(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", 1)
    for step, fvu in ((1, 0.5), (2, 0.2), (3, 0.3), (4, 0.4)):
        runs = [RunState(fvu=fvu), RunState(stopped="exploded")]
        checkpoints.save(Checkpoint(step, "r", [{}], runs, {"0.dictionary.w": torch.ones(1)}))
    assert [path.name for path in checkpoints.paths()] == ["step-00000002", "step-00000004"]
    best = checkpoints.best()
    assert best is not None
    assert best.name == "step-00000002"
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 4, "a run goes on from the newest, not from the best"


def test_a_full_disk_leaves_earlier_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monosema.core import DiskFullError

    checkpoints = Checkpoints(tmp_path / "c", 2)
    checkpoints.save(Checkpoint(1, "r", tensors={"0.dictionary.w": torch.ones(2)}))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(DiskFullError):
        checkpoints.save(Checkpoint(2, "r", tensors={"0.dictionary.w": torch.ones(2)}))
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 1
    assert len(list((tmp_path / "c").iterdir())) == 1


def test_counters_and_optimiser_are_part_of_a_checkpoint(
    vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(vectors, tmp_path / "a", monkeypatch)
    checkpoint = Checkpoints(tmp_path / "a" / "checkpoint", 2).newest()
    assert checkpoint is not None
    names = set(checkpoint.tensors_of(0))
    parameters = len(list(make_coder("topk", d_in=2, n_latents=2, k=1).parameters()))
    assert "dictionary.silent_tokens" in names
    assert {f"optimiser.{i}.{s}" for i in range(parameters) for s in ("step", "exp_avg", "exp_avg_sq")} <= names


def test_an_interrupt_waits_for_the_step_and_leaves_a_checkpoint(vectors: Path, tmp_path: Path) -> None:
    step, seen, before = Trainer.step, [0], signal.getsignal(signal.SIGINT)

    def interrupted(self: Trainer, *batches: torch.Tensor) -> object:
        seen[0] += 1
        if seen[0] == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *batches)

    settings = {"latents": 64, "k": 4, "batch": 100, "passes": 3, "config": TrainConfig(seed=7)}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", interrupted)
        train_on_vectors(vectors, out=tmp_path / "parts", **settings)
    assert signal.getsignal(signal.SIGINT) is before
    checkpoint = Checkpoints(tmp_path / "parts" / "checkpoint", 1).newest()
    assert checkpoint is not None
    assert checkpoint.step == 7
    train_on_vectors(vectors, out=tmp_path / "parts", **settings)
    train_on_vectors(vectors, out=tmp_path / "whole", **settings)
    weights = [(tmp_path / one / "sae_weights.safetensors").read_bytes() for one in ("parts", "whole")]
    assert weights[0] == weights[1]
