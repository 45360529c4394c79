"""Intervals of yes-or-no figures hold the truth as often as they say, at the ends too, where a bootstrap does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from monosema.interpretation.scorers.classification import DETAILS, Answers, Detection, area_ends, classify
from monosema.interpretation.scores import ScoreTable

WORLDS = 1500


def classified(
    latent: np.ndarray, truth: np.ndarray, said: np.ndarray, latents: np.ndarray, minimum: int
) -> dict[str, ScoreTable]:
    """Tables by the name of the metric."""
    tables = classify(Detection.info, Answers(latent, truth, said), latents, minimum)
    return {table.scorer.removeprefix("detection "): table for table in tables}


@pytest.mark.parametrize(
    ("positives", "negatives", "recall", "false"),
    [(20, 20, 0.95, 0.05), (20, 20, 0.8, 0.1), (20, 20, 0.3, 0.3), (20, 5, 0.8, 0.1), (10, 10, 0.99, 0.4)],
)
def test_intervals_hold_the_truth(positives: int, negatives: int, recall: float, false: float) -> None:
    """Judges whose sureness is normal, so that all five figures are known of them."""
    draw = np.random.default_rng(0)
    truth = np.tile(np.arange(positives + negatives) < positives, WORLDS)
    latent = np.repeat(np.arange(WORLDS), positives + negatives)
    sure, unsure = norm.ppf(recall), norm.ppf(false)
    said = norm.cdf(np.where(truth, sure, unsure) + draw.normal(size=len(truth)))
    found = classified(latent, truth, said, np.arange(WORLDS), 1)
    hits, wrong = positives * recall, negatives * false
    true = {
        "F1": 2 * hits / (positives + hits + wrong),
        "precision": hits / (hits + wrong),
        "recall": recall,
        "AUC": norm.cdf((sure - unsure) / 2**0.5),
    }
    held = {
        name: np.mean([one.low <= true[name] <= one.high for one in found[name].estimates.values()]) for name in true
    }
    accuracy = (recall + 1 - false) / 2
    held["balanced accuracy"] = np.mean(
        [one.low <= accuracy <= one.high for one in found["detection"].estimates.values()]
    )
    # Of so few passages a share has few values, so its coverage moves in steps around 95 %.
    assert all(share >= 0.9 for share in held.values()), held
    assert np.mean(list(held.values())) >= 0.94, held


@given(st.floats(0, 1), st.integers(1, 60), st.integers(1, 60))
def test_ends_of_an_area_are_ordered_and_mirror(area: float, positives: int, negatives: int) -> None:
    sizes = np.array([float(positives)]), np.array([float(negatives)])
    low, high = area_ends(np.array([area]), *sizes)
    assert 0 <= low[0] <= area + 1e-9
    assert area - 1e-9 <= high[0] <= 1
    mirrored = area_ends(np.array([1 - area]), *sizes)
    assert (1 - mirrored[1][0], 1 - mirrored[0][0]) == pytest.approx((low[0], high[0]), abs=1e-6)


def test_nothing_is_certain_after_forty_right_answers() -> None:
    truth = np.arange(40) % 2 == 0
    found = classified(np.zeros(40, int), truth, np.where(truth, 0.9, 0.2), np.arange(1), 5)
    for name in DETAILS:
        assert found[name].estimates[0].value == 1.0
        assert 0.7 < found[name].estimates[0].low < 0.97


def test_plain_answers_have_no_area_and_silence_no_precision() -> None:
    truth = np.arange(40) % 2 == 0
    latent = np.repeat([3, 8], 40)
    answers = np.concatenate([truth * 1.0, np.zeros(40)])
    found = classified(latent, np.tile(truth, 2), answers, np.array([3, 8]), 5)
    assert found["AUC"].estimates == {}
    assert found["AUC"].absent == dict.fromkeys((3, 8), "the answers have no probabilities")
    assert found["precision"].absent == {8: "there was no yes"}
    assert (found["F1"].estimates[8].value, found["recall"].estimates[8].value) == (0.0, 0.0)
    assert list(found) == ["detection", *DETAILS]
    assert all(one.estimates.keys() | one.absent.keys() == {3, 8} for one in found.values())
    assert [one.part for one in found.values()] == ["", *["detail"] * 4]
