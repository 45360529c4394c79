"""New starts of silent latents do not throw off a run in which one direction holds most of the variance."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from monosema.activations import Preprocessing, StoreStream, open_rows
from monosema.core import AnomalyError
from monosema.dictionaries import load_dictionary, make_coder, resampling
from monosema.training import TrainConfig, held_out_metrics, train

WIDTH, BATCH, STEPS = 32, 256, 60


def rows(number: int, seed: int) -> torch.Tensor:
    """Return sparse sums of 96 directions; one row in fifty has, along one dimension, 87 % of the variance of all."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(96, WIDTH, generator=torch.Generator().manual_seed(9))
    active = (torch.rand(number, 96, generator=generator) < 0.05) * torch.rand(number, 96, generator=generator)
    x = 3 * active @ torch.nn.functional.normalize(directions, dim=1)
    large = torch.rand(number, generator=generator) < 0.02
    x[:, 0] += 60 * large * (1 + 0.2 * torch.rand(number, generator=generator))
    x -= x.mean(dim=0)
    return x / x.square().mean().sqrt()


def run(out: Path) -> list[float]:
    """Train, and return the FVU of each batch."""
    dictionary = make_coder("matryoshka", d_in=WIDTH, n_latents=256, k=4)
    np.save(out / "rows.npy", rows(BATCH * STEPS, 0).numpy())
    stream = StoreStream(open_rows(out / "rows.npy"), batch=BATCH, preprocessing=Preprocessing.identity(WIDTH))
    train(dictionary, stream, TrainConfig(log_every=1), out)
    return recorded(out)


def recorded(out: Path) -> list[float]:
    return [json.loads(line)["fvu"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_one_direction_with_most_of_the_variance_is_learnt(tmp_path: Path) -> None:
    curve = run(tmp_path)
    assert max(curve[4:]) < 3
    assert sum(curve[-5:]) / 5 < 0.1
    assert held_out_metrics(load_dictionary(tmp_path), rows(4000, 5)).alive > 0.9


def test_encoder_rows_that_are_no_filters_throw_it_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise these rows would prove nothing."""
    monkeypatch.setattr(resampling, "filters", lambda rows, x: rows)
    with suppress(AnomalyError):
        run(tmp_path)
    assert max(recorded(tmp_path)[4:]) > 30


@pytest.mark.parametrize("n", [20, 4, 1])
def test_a_filter_answers_to_its_direction_and_least_to_the_others(n: int) -> None:
    torch.manual_seed(0)
    x, found = torch.randn(n, 8, dtype=torch.float64) @ torch.randn(8, 8, dtype=torch.float64), torch.randn(3, 8)
    found = found.double()
    filters = resampling.filters(found, x)
    ridge = resampling.RIDGE * x.square().mean()
    expected = torch.linalg.solve(x.T @ x / n + ridge * torch.eye(8), found.T).T
    expected *= found.square().sum(dim=1, keepdim=True) / (expected * found).sum(dim=1, keepdim=True)
    torch.testing.assert_close(filters, expected)
    torch.testing.assert_close((filters * found).sum(dim=1), found.square().sum(dim=1))
    assert resampling.filters(found, torch.zeros(n, 8, dtype=torch.float64)).isfinite().all()
    assert resampling.filters(found[:0], x).shape == (0, 8)
