"""The trainer: what it writes, what it refuses, and that it stops when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from monosema.activations import Preprocessing
from monosema.core import AnomalyError, ConfigError, RunError, VectorError
from monosema.dictionaries import SparseCoder, TopK, load_dictionary, make_coder
from monosema.training import TrainConfig, held_out_metrics, train

D = 8


class Batches:
    """A stream over a tensor in memory."""

    def __init__(self, x: torch.Tensor, batch: int = 50, preprocessing: Preprocessing | None = None) -> None:
        self.d_in, self.batch, self.rows = x.shape[1], batch, len(x)
        self.batches = len(x) // batch
        self.preprocessing = preprocessing
        self._x = x if preprocessing is None else preprocessing(x)
        self.given = 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        while self.given < self.batches:
            yield self.next_batch()

    def next_batch(self) -> torch.Tensor:
        if self.given >= self.batches:
            raise StopIteration
        self.given += 1
        return self._x[(self.given - 1) * self.batch : self.given * self.batch]

    def state_dict(self) -> dict[str, Any]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.given = state["given"]


def data(n: int = 2000, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(16, D, generator=torch.Generator().manual_seed(9)), dim=1)
    active = (torch.rand(n, 16, generator=generator) < 0.2) * torch.rand(n, 16, generator=generator)
    return active @ directions * 5 + 1.0


def topk(**config: Any) -> SparseCoder:
    return make_coder("topk", d_in=D, n_latents=32, k=4, **config)


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_trains_saves_and_reports(tmp_path: Path) -> None:
    x, held = data(), data(500, seed=1)
    result = train(topk(), Batches(x), TrainConfig(lr=1e-2), tmp_path, heldout=held)
    assert result.steps == 40
    assert result.step_ms is not None
    assert result.tokens_per_second == pytest.approx(50 / result.step_ms * 1e3)
    assert result.peak_memory_mb >= result.memory_before_mb > 0
    loaded = load_dictionary(result.dictionary)
    figures = held_out_metrics(loaded, held)
    assert figures.fvu == pytest.approx(result.held_out_fvu)
    assert figures.fvu < 0.3
    assert (figures.l0, figures.alive) == (result.l0, result.alive)
    assert loaded.metadata.tokens == 2000
    assert not (tmp_path / "checkpoint").exists()


def test_preprocessing_is_folded_into_what_is_saved(tmp_path: Path) -> None:
    raw = data() * 30 + 500
    preprocessing = Preprocessing(
        raw.mean(dim=0), float(D**0.5 / (raw - raw.mean(dim=0)).norm(dim=1).square().mean().sqrt())
    )
    result = train(topk(), Batches(raw, preprocessing=preprocessing), TrainConfig(lr=1e-2), tmp_path, heldout=raw[:300])
    assert result.held_out_fvu is not None
    assert result.held_out_fvu < 0.3
    loaded = load_dictionary(tmp_path)
    torch.testing.assert_close(loaded.directions.norm(dim=1), torch.ones(32))
    assert held_out_metrics(loaded, raw[:300]).fvu == pytest.approx(result.held_out_fvu)


def test_metrics_are_recorded(tmp_path: Path) -> None:
    train(topk(), Batches(data()), TrainConfig(lr=1e-2, log_every=15), tmp_path)
    recorded = lines(tmp_path)
    assert [line["step"] for line in recorded] == [15, 30, 40]
    assert [line["tokens"] for line in recorded] == [750, 1500, 2000]
    assert all({"fvu", "l0", "dead", "lr", "loss_mse"} <= set(line) for line in recorded)
    assert recorded[-1]["fvu"] < recorded[0]["fvu"]


@pytest.mark.parametrize("log_every", [1, 7])
def test_recording_and_checkpoints_change_nothing(tmp_path: Path, log_every: int) -> None:
    train(topk(), Batches(data()), TrainConfig(lr=1e-2, log_every=1000), tmp_path / "a")
    config = TrainConfig(lr=1e-2, log_every=log_every, checkpoint_steps=3)
    train(topk(), Batches(data()), config, tmp_path / "b", heldout=data(200, seed=1))
    weights = "sae_weights.safetensors"
    assert (tmp_path / "a" / weights).read_bytes() == (tmp_path / "b" / weights).read_bytes()


def test_gradients_are_cleared_between_steps(tmp_path: Path) -> None:
    dictionary = topk()
    train(dictionary, Batches(data()), TrainConfig(lr=1e-2), tmp_path)
    assert all(parameter.grad is None for parameter in dictionary.parameters())


def test_widths_must_fit(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match=r"width 5.*width 8"):
        train(topk(), Batches(torch.randn(100, 5)), TrainConfig(), tmp_path)


def test_without_held_out_rows_nothing_is_claimed(tmp_path: Path) -> None:
    result = train(topk(), Batches(data()), TrainConfig(), tmp_path)
    assert result.held_out_fvu is None
    assert result.l0 is None
    assert result.alive is None


def test_nan_stops_with_the_reason_and_the_last_checkpoint(tmp_path: Path) -> None:
    x = data()
    x[1234, 3] = float("nan")
    with pytest.raises(AnomalyError, match=r"1 of the 50 vectors of the batch hold NaN.*step-00000020.*float16"):
        train(topk(), Batches(x), TrainConfig(checkpoint_steps=10, log_every=5, start_rows=500), tmp_path / "a")
    with pytest.raises(AnomalyError, match=r"the loss is not a number.*step-00000020"):
        train(topk(), Batches(x), TrainConfig(checkpoint_steps=10, log_every=30, start_rows=500), tmp_path / "b")


def test_a_batch_of_one_vector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"A batch of one vector has no variance.*--batch 2"):
        train(topk(), Batches(data(), batch=1), TrainConfig(), tmp_path)
    assert train(topk(), Batches(data(80), batch=2), TrainConfig(), tmp_path).steps == 40


@pytest.mark.parametrize("scale", [0.0, 1e-4])
def test_vectors_that_hardly_differ_are_not_called_an_explosion(tmp_path: Path, scale: float) -> None:
    """As where one vector far from all others sets the scale: the advice is not to learn more slowly."""
    x = 3 + scale * data()
    x[-1] = 100
    said = r"all 50 vectors of the batch are equal" if scale == 0 else r"differ by \d.*of what vectors differ by"
    with pytest.raises(AnomalyError, match=rf"{said}.*far from all others set the scale") as caught:
        train(topk(), Batches(x), TrainConfig(log_every=1, lr=10.0, epsilon=1e-12), tmp_path)
    assert "learning rate" not in str(caught.value)
    assert "exploded" not in str(caught.value)


def test_an_explosion_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(AnomalyError, match="exploded"):
        train(topk(), Batches(data()), TrainConfig(lr=1e5, epsilon=1e-12, log_every=1), tmp_path)


def test_exploding_norms_stop_the_run(tmp_path: Path) -> None:
    class Growing(SparseCoder):
        def constrain(self) -> None:
            with torch.no_grad():
                self.W_enc.mul_(10)

    growing = Growing(D, 32, TopK(k=4))
    with pytest.raises(AnomalyError, match=r"exploded"):
        train(growing, Batches(data()), TrainConfig(log_every=1, lr=1e-9), tmp_path)


def test_a_precision_that_the_device_lacks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise RuntimeError("not implemented for 'BFloat16'")

    monkeypatch.setattr("monosema.training.training_run.torch.ones", lacking)
    with pytest.raises(ConfigError, match=r"product = 'bfloat16'.*the device cpu can't multiply in bfloat16"):
        train(topk(), Batches(data()), TrainConfig(product="bfloat16"), tmp_path)


def test_candidates_by_integers_train_what_float32_trains(tmp_path: Path) -> None:
    figures = {}
    for product in ("float32", "int8"):
        dictionary = make_coder("topk", d_in=D, n_latents=256, k=4, seed=0)
        config = TrainConfig(product=product, lr=3e-3, start_rows=512)
        train(dictionary, Batches(data(6_000), batch=200), config, tmp_path / product)
        figures[product] = held_out_metrics(load_dictionary(tmp_path / product), data(1000, seed=1))
    assert figures["int8"].fvu == pytest.approx(figures["float32"].fvu, rel=0.05)
    assert figures["int8"].l0 == pytest.approx(figures["float32"].l0, rel=0.02)


def test_integers_are_refused_where_they_are_not_for(tmp_path: Path) -> None:
    from monosema.training.training_run import TrainingRun

    with pytest.raises(ConfigError, match=r"product = 'int8'.*the device meta can't multiply in int8"):
        TrainingRun(topk().to("meta"), TrainConfig(product="int8"), tmp_path)


def test_all_dead_stops_the_run(tmp_path: Path) -> None:
    class Silent(SparseCoder):
        def start(self, sample: torch.Tensor, seed: int) -> None:
            super().start(sample, seed)
            with torch.no_grad():
                self.b_enc.fill_(-1e6)

    silent = Silent(D, 32, TopK(k=4))
    with pytest.raises(AnomalyError, match="all latents are dead"):
        train(silent, Batches(data()), TrainConfig(log_every=1), tmp_path)


def test_a_stream_without_end_is_refused(tmp_path: Path) -> None:
    stream = Batches(data())
    stream.batches = None
    with pytest.raises(RunError, match="how many batches"):
        train(topk(), stream, TrainConfig(), tmp_path)


def test_clipping_bounds_the_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, constrain = [], SparseCoder.constrain

    def watched(self: SparseCoder) -> None:
        constrain(self)
        seen.append(float(torch.stack([p.grad.norm() for p in self.parameters()]).norm()))

    monkeypatch.setattr(SparseCoder, "constrain", watched)
    train(make_coder("topk", d_in=D, n_latents=32, k=4), Batches(data()), TrainConfig(clip=1e-3), tmp_path)
    assert max(seen) <= 1.0001e-3
