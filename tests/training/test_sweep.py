"""Sweeps: each trial as if it were alone, one pass over the data, one trial's anomaly its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monosema.activations import Preprocessing, StoreStream, open_rows
from monosema.core import AnomalyError, ConfigError, RunError, SiteError, VectorError, read_json
from monosema.dictionaries import SparseCoder, TopK, make_coder
from monosema.training import SweepResult, TrainConfig, TrainingRun, Trial, train, train_sweep
from monosema.training.checkpoint import Checkpoints
from monosema.training.trainer import Trainer

D, M = 8, 32
WEIGHTS = "sae_weights.safetensors"
CONFIG = TrainConfig(lr=1e-2, checkpoint_steps=4, log_every=5)


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    path = tmp_path / "x.npy"
    np.save(path, (generator.standard_normal((1000, 4)) @ generator.standard_normal((4, D)) + 2).astype("float32"))
    return path


def stream(vectors: Path) -> StoreStream:
    return StoreStream(open_rows(vectors), batch=50, seed=3, preprocessing=Preprocessing.identity(D))


def make(name: str, config: TrainConfig, out: Path) -> TrainingRun:
    shape = {"d_in": D, "n_latents": M}
    dictionary: Any = {
        "topk-2": lambda: make_coder("topk", **shape, k=2),
        "topk-4": lambda: make_coder("topk", **shape, k=4, seed=1),
        "wide": lambda: make_coder("topk", d_in=D, n_latents=2 * M, k=4),
        "l1": lambda: make_coder("l1", **shape, recipe="2023", l1_coefficient=0.3),
        "jumprelu": lambda: make_coder("jumprelu", **shape),
        "batch_topk": lambda: make_coder("batch_topk", **shape, k=3),
    }[name]()
    return TrainingRun(dictionary, config, out / name, name=name, heldout=torch.ones(30, D) + torch.eye(30, D))


NAMES = ("topk-2", "topk-4", "wide", "l1", "jumprelu", "batch_topk")


def sweep(vectors: Path, out: Path, names: tuple[str, ...] = NAMES, config: TrainConfig = CONFIG) -> SweepResult:
    trials = [make(name, config, out) for name in names]
    return train_sweep(trials, [{"name": name} for name in names], [stream(vectors)], config, out)


def test_each_member_is_to_the_bit_what_it_is_alone(vectors: Path, tmp_path: Path) -> None:
    result = sweep(vectors, tmp_path / "sweep")
    assert [trial.name for trial in result.trials] == list(NAMES)
    for name in NAMES:
        alone = make(name, CONFIG, tmp_path / "alone")
        own = train(alone.dictionary, stream(vectors), CONFIG, tmp_path / "alone" / name, heldout=alone.heldout)
        together = tmp_path / "sweep" / name
        assert (together / WEIGHTS).read_bytes() == (tmp_path / "alone" / name / WEIGHTS).read_bytes(), name
        found = next(trial for trial in result.trials if trial.name == name)
        assert (found.fvu, found.l0, found.alive, found.terms) == (own.held_out_fvu, own.l0, own.alive, own.terms)
        assert len((together / "metrics.jsonl").read_text().splitlines()) == 4


def test_the_data_is_read_once(vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    next_batch = StoreStream.next_batch
    monkeypatch.setattr(StoreStream, "next_batch", lambda self: given.append(1) or next_batch(self))
    sweep(vectors, tmp_path, ("topk-2", "topk-4", "wide"), CONFIG.replace(start_rows=50))
    assert len(given) == 1000 // 50 + 1, "one batch to start from, and each batch once"


def test_the_result_is_typed_on_disk_and_not_made_twice(
    vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("topk-2", "topk-4")
    result = sweep(vectors, tmp_path, names)
    assert SweepResult.from_dict(read_json(tmp_path / "sweep.json")) == result
    monkeypatch.setattr(Trainer, "run", None)
    assert sweep(vectors, tmp_path, names) == result
    with pytest.raises(RunError, match=r"another sweep .*topk-2"):
        sweep(vectors, tmp_path, ("l1",))


def test_killed_and_continued_all_members_are_equal_to_the_bit(vectors: Path, tmp_path: Path) -> None:
    names = ("topk-2", "wide", "l1", "batch_topk")
    sweep(vectors, tmp_path / "whole", names)
    out = tmp_path / "killed"
    for kill_at in (6, 18):
        child = os.fork()
        if child == 0:
            step = Trainer.step

            def stop(self: Trainer, *batches: torch.Tensor, at: int = kill_at) -> Any:
                if self.step_number >= at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return step(self, *batches)  # noqa: B023 - the child ends here

            Trainer.step = stop  # type: ignore[method-assign]
            torch.set_num_threads(1)
            sweep(vectors, out, names)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    sweep(vectors, out, names)
    for name in names:
        assert (out / name / WEIGHTS).read_bytes() == (tmp_path / "whole" / name / WEIGHTS).read_bytes(), name


class Poisoned(SparseCoder):
    """Explodes after some steps."""

    def losses(self, x: torch.Tensor, context: Any) -> Any:
        losses = super().losses(x, context)
        if context.step >= 12:
            object.__setattr__(losses, "fvu", torch.tensor(float("nan")))
        return losses


def poisoned(out: Path) -> TrainingRun:
    return TrainingRun(Poisoned(D, M, TopK(k=4)), CONFIG, out / "bad", name="bad")


def test_an_anomaly_stops_its_member_only(vectors: Path, tmp_path: Path) -> None:
    good = make("topk-2", CONFIG, tmp_path)
    result = train_sweep([poisoned(tmp_path), good], [{}, {}], [stream(vectors)], CONFIG, tmp_path)
    bad, fine = result.trials
    assert bad.stopped is not None
    assert result.stopped == [bad.stopped]
    assert "not a number" in bad.stopped
    assert str(tmp_path / "bad" / "checkpoint" / "step-00000012") in bad.stopped
    assert bad.fvu is None
    assert result.front == [fine.name] == ["topk-2"]
    kept = Checkpoints(tmp_path / "bad" / "checkpoint", 1).newest()
    assert kept is not None
    assert kept.tensors_of(0)["dictionary.W_dec"].isfinite().all()
    sweep(vectors, tmp_path / "alone", ("topk-2",))
    assert (tmp_path / "topk-2" / WEIGHTS).read_bytes() == (tmp_path / "alone" / "topk-2" / WEIGHTS).read_bytes()


def test_where_all_members_stop_the_run_ends(vectors: Path, tmp_path: Path) -> None:
    with pytest.raises(AnomalyError, match="of bad stopped at step"):
        train_sweep([poisoned(tmp_path)], [{}], [stream(vectors)], CONFIG, tmp_path)


class Sited:
    """A stream that says its site."""

    def __init__(self, inner: StoreStream, site: Any) -> None:
        self._inner, self.site = inner, site
        self.d_in, self.batch, self.rows, self.batches = inner.d_in, inner.batch, inner.rows, inner.batches

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self._inner)

    def next_batch(self) -> torch.Tensor:
        return self._inner.next_batch()

    def state_dict(self) -> dict[str, Any]:
        return self._inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._inner.load_state_dict(state)


def test_a_dictionary_of_another_site_is_refused(vectors: Path, tmp_path: Path) -> None:
    from monosema.core import Site
    from monosema.dictionaries import Metadata

    dictionary = make_coder("topk", d_in=D, n_latents=M, k=2, metadata=Metadata(site=Site.parse("3.resid_post")))
    with pytest.raises(VectorError, match=r"of 2\.resid_post, but the dictionary is of 3\.resid_post"):
        train(dictionary, Sited(stream(vectors), Site.parse("2.resid_post")), CONFIG, tmp_path)
    with pytest.raises(SiteError):
        Site.parse("nowhere at all")


def test_two_members_of_one_name_are_refused(vectors: Path, tmp_path: Path) -> None:
    trials = [make("l1", CONFIG, tmp_path), make("l1", CONFIG, tmp_path)]
    with pytest.raises(ConfigError, match="different names"):
        train_sweep(trials, [{}, {}], [stream(vectors)], CONFIG, tmp_path)


def test_streams_of_other_lengths_are_refused(vectors: Path, tmp_path: Path) -> None:
    other = StoreStream(open_rows(vectors), batch=20, seed=3)
    with pytest.raises(RunError, match="20 batches of 50 rows"):
        train_sweep([make("l1", CONFIG, tmp_path)], [{}], [stream(vectors), other], CONFIG, tmp_path)


def test_the_front_is_of_one_site_and_ranks_nothing_across_l0() -> None:
    def point(name: str, l0: float | None, fvu: float | None, site: str = "a") -> Trial:
        return Trial(name, {"site": site}, fvu, l0, None, {}, None)

    trials = (
        point("sparse", 1.0, 1.0),
        point("middle", 10.0, 0.05),
        point("dense", 100.0, 0.04),
        point("worse", 20.0, 0.9),
        point("worse at nearly the same L0", 9.8, 0.06),
        point("elsewhere", 20.0, 0.9, site="b"),
        point("stopped", None, None),
    )
    result = SweepResult(trials, 0, 1, None, "")
    assert result.front == ["sparse", "middle", "dense", "elsewhere"]
    older = result.to_dict() | {"best": "middle"}
    del older["front"]
    assert SweepResult.from_dict(older) == result, "results of earlier versions are read"
