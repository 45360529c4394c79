import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monosema.core import bootstrap_correlation, bootstrap_mean, bootstrap_ratio, wilson


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        estimate = bootstrap_mean(generator.exponential(size=60), seed=seed)
        hits += estimate.low <= 1.0 <= estimate.high
    assert 175 <= hits <= 199


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_the_mean_is_the_mean(values: list[float]) -> None:
    estimate = bootstrap_mean(values)
    assert estimate.value == pytest.approx(np.mean(values), abs=1e-6)
    assert min(values) - 1e-6 <= estimate.low <= estimate.high <= max(values) + 1e-6
    assert estimate.n == len(values)


def test_a_ratio_weighs_units_by_their_denominators() -> None:
    assert bootstrap_ratio([1.0, 9.0], [1.0, 3.0]).value == 2.5
    with pytest.raises(ValueError, match="zero"):
        bootstrap_ratio([1.0], [0.0])
    with pytest.raises(ValueError, match="length"):
        bootstrap_ratio([], [])


def test_wilson_holds_at_the_ends() -> None:
    everything = wilson(100, 100)
    assert everything.value == 1.0
    assert 0.95 < everything.low < 1.0 == everything.high
    assert wilson(0, 10).low == 0.0
    with pytest.raises(ValueError, match="successes"):
        wilson(3, 2)


def test_a_correlation_is_numpys_and_its_interval_holds_the_truth() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=400)
    y = 0.6 * x + 0.8 * generator.normal(size=400)
    found = bootstrap_correlation(x, y)
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found.low < 0.6 < found.high
    with pytest.raises(ValueError, match="differ"):
        bootstrap_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
