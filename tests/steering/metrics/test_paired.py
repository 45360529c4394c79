"""Differences over the same units, and what does not exist."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monosema.steering.metrics.paired import by_unit, exponential, ratio, ratio_difference


def test_texts_of_one_unit_are_added_up() -> None:
    assert by_unit([(1, 2), (3, 4), (5, 6)], ["a", "b", "a"]).tolist() == [[6, 3], [8, 4]]
    assert by_unit([], []).shape == (2, 0)


def test_a_shift_that_every_unit_shares_is_known_without_doubt() -> None:
    own = np.random.default_rng(0).uniform(0, 1, 40)
    base = np.stack([own, np.ones(40)])
    moved = np.stack([own + 0.25, np.ones(40)])
    found = ratio_difference(moved, base)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert ratio(base).high - ratio(base).low > 0.1  # type: ignore[union-attr]


def test_what_can_not_be_divided_is_absent() -> None:
    nothing, something = np.zeros((2, 3)), np.ones((2, 3))
    assert ratio(nothing) is None
    assert ratio_difference(something, nothing) is None
    assert ratio_difference(np.zeros((2, 0)), np.zeros((2, 0))) is None
    assert exponential(None) is None


def test_nats_become_perplexity() -> None:
    found = exponential(ratio(np.array([[2.0], [1.0]])))
    assert found is not None
    assert found.value == pytest.approx(math.e**2)
    huge = exponential(ratio(np.array([[1e6], [1.0]])))
    assert huge is not None
    assert math.isfinite(huge.value)
