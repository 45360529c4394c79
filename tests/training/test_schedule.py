"""The learning rate's course."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.dictionaries import TopK, TopKConfig
from monosema.training import Member, TrainConfig, adam_epsilon, learning_rate, schedule


def test_rises_stays_and_falls() -> None:
    course = [schedule(step, 100, 4, 0.5) for step in range(100)]
    assert course[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(course[5:51]) == {1.0}
    assert course[51:] == pytest.approx([(100 - step) / 50 for step in range(51, 100)])


@given(st.integers(1, 300), st.integers(0, 50), st.floats(0, 1))
def test_stays_within_zero_and_one(steps: int, warmup: int, decay: float) -> None:
    assert all(0 < schedule(step, steps, warmup, decay) <= 1 for step in range(steps))


def test_rate_falls_with_latents_and_length() -> None:
    assert learning_rate(65_536, 100) == pytest.approx(learning_rate(16_384, 100) / 2)
    assert learning_rate(16_384, 10_000) < learning_rate(16_384, 100)


def test_epsilon_lets_narrow_and_slow_runs_take_the_same_multiple_of_a_latents_gradient() -> None:
    for latents, peak in ((2048, 0.01), (65_536, 0.002)):
        assert peak / adam_epsilon(latents, peak) == pytest.approx(latents / 3)


@pytest.mark.parametrize("epsilon", [None, 1e-12])
def test_no_step_is_longer_than_epsilon_allows(tmp_path: Path, epsilon: float | None) -> None:
    """With a small ε, entries with small gradients go as far as those with large ones."""
    torch.manual_seed(0)
    batch = torch.randn(256, 16)
    # Of a tenth of the inputs there is hardly anything, and so of what they give to gradients.
    batch[:, ::10] *= 1e-4
    dictionary = TopK(TopKConfig(d_in=16, n_latents=64, k=4, k_aux=0))
    dictionary.start(batch, 0)
    member = Member(dictionary, TrainConfig(lr=0.05, warmup=0, epsilon=epsilon), tmp_path)
    member.prepare(100, 256)
    before = dictionary.encoder.detach().clone()
    dictionary.losses(batch, member.moment).total.backward()
    gradient = dictionary.encoder.grad
    assert gradient is not None
    allowed = 64 / 3 * gradient.abs()
    dictionary.encoder.grad = None
    member.step(batch)
    went = (dictionary.encoder.detach() - before).abs()
    assert bool((went <= allowed + 1e-7).all()) == (epsilon is None)
