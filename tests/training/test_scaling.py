"""The scaling law: known laws are found again, and their intervals hold."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from monosema.core import ConfigError
from monosema.training import ScalingPoint, fit_scaling
from monosema.training.scaling import NAMES

TRUTH = {"alpha": -0.5, "beta_k": 0.26, "beta_n": -0.12, "gamma": -0.042, "zeta": -1.6, "eta": -0.285}
WIDTHS, ACTIVES = (512, 1024, 2048, 4096, 8192, 32_768), (8, 16, 32, 64)


def law(n: float, k: float) -> float:
    p = TRUTH
    rest = p["alpha"] + p["beta_k"] * math.log(k) + p["beta_n"] * math.log(n) + p["gamma"] * math.log(k) * math.log(n)
    return math.exp(rest) + math.exp(p["zeta"] + p["eta"] * math.log(k))


def points(noise: float, seeds: int = 1, seed: int = 0) -> list[ScalingPoint]:
    generator = np.random.default_rng(seed)
    cells = itertools.product(WIDTHS, ACTIVES, range(seeds))
    return [ScalingPoint(n, k, law(n, k) * math.exp(noise * generator.standard_normal())) for n, k, _ in cells]


def test_without_noise_the_law_is_found_exactly() -> None:
    fit = fit_scaling(points(0.0), resamples=2)
    for name in NAMES:
        assert fit.parameters[name].value == pytest.approx(TRUTH[name], abs=2e-3), name
    assert fit.error < 1e-6
    assert fit.predict(100_000, 100) == pytest.approx(law(100_000, 100), rel=1e-3)


@pytest.mark.parametrize("seeds", [1, 3])
def test_with_noise_intervals_hold_the_truth(seeds: int) -> None:
    fit = fit_scaling(points(0.003, seeds), resamples=40)
    held = [fit.parameters[name].low <= TRUTH[name] <= fit.parameters[name].high for name in NAMES]
    assert sum(held) >= 5
    assert all(fit.parameters[name].low < fit.parameters[name].high for name in NAMES)
    assert fit.error == pytest.approx(0.003, rel=0.4)
    assert fit.predict(16_384, 24) == pytest.approx(law(16_384, 24), rel=0.01)
    assert set(fit.floor) == {"8", "16", "32", "64"}


def test_intervals_narrow_where_noise_is_less() -> None:
    wide, narrow = (fit_scaling(points(noise), resamples=30).floor["32"] for noise in (0.02, 0.002))
    assert narrow.high - narrow.low < wide.high - wide.low


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ConfigError, match="there are 6, 2 and 12"):
        fit_scaling([point for point in points(0.0) if point.k < 20])
    with pytest.raises(ConfigError, match="0 or less"):
        fit_scaling([*points(0.0), ScalingPoint(8, 8, 0.0)])
