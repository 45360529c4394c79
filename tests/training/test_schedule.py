"""The learning rate's course."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monosema.training import learning_rate, schedule, warm_up_steps


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


def test_rate_is_bounded_where_many_active_latents_could_agree() -> None:
    usual = learning_rate(4096, 100, width=256, active=8.0)
    assert usual == learning_rate(4096, 100)
    bounded = learning_rate(4096, 100, width=1024, active=64.0)
    assert bounded < usual
    assert learning_rate(4096, 100, width=4096, active=64.0) == pytest.approx(bounded / 2)
    assert learning_rate(4096, 100, width=1024, active=256.0) == pytest.approx(bounded / 2)


def test_a_run_begins_with_a_rise() -> None:
    assert warm_up_steps(100) == 10
    assert warm_up_steps(1) == 0
    assert [schedule(step, 100, warm_up_steps(100), 0.7) for step in (0, 10)] == pytest.approx([1 / 11, 1.0])
