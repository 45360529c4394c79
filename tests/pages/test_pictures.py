"""The charts of a report, as specifications."""

import dataclasses
import itertools

import numpy as np
import pytest

from monosema.pages.bundle import ReportBundle
from monosema.pages.pictures import density_histogram, feature_map, loss_bars, share_histogram, training_curves


def rows_of(spec):
    return list(itertools.chain(*spec["datasets"].values()))


def columns(score, **more):
    base = {"alive": np.array([1, 1, 1, 0], np.uint8), "density": np.array([0.5, 0.02, 0.002, 0.0], np.float32)}
    high = {"max": np.array([3.0, 40.0, 5.0, 0.0], np.float32), "label_score": np.array(score, np.float32)}
    return ReportBundle(
        {},
        base | high | more,
        n_passages=0,
        passages_per_feature=(1, 0),
        complete=True,
        scorer="simulation",
    )


def test_training_curves_are_thinned_and_keep_their_end():
    lines = [{"tokens": i, "fvu": 1 / (i + 1), "l0": 32.0, "dead": float("nan")} for i in range(1000)]
    fvu, l0 = training_curves(lines)
    points = [row for row in rows_of(fvu) if row.get("line")]
    assert 300 < len(points) <= 401
    assert (points[-1]["x"], points[-1]["y"]) == (999, 1 / 1000)
    assert "32.0" in [row["label"] for row in rows_of(l0)]
    assert training_curves(lines[:1]) == []


def test_losses_of_another_model_are_left_out(facts):
    own, pca, random = facts.evaluation
    other = dataclasses.replace(random, metrics=random.metrics | {"ce_clean": own.metrics["ce_mean"]})
    names = [row["name"] for row in rows_of(loss_bars([own, pca, other]))]
    assert set(names) == {"untouched model", "TopK, k = 32", "PCA, 32 components", "mean", "erased (zero)"}
    assert loss_bars([pca]) is None


def test_the_map_shows_scores_where_there_are_some_else_activations():
    scored = feature_map(columns([0.9, 0.25, np.nan, np.nan]))
    assert scored.to_dict() == {
        **{"column": "label_score", "log": False, "label": "label score (simulation)"},
        **{"x": (0.01, 1.0), "y": (0.2, 1.0)},
    }
    bare = feature_map(columns([np.nan] * 4))
    assert (bare.to_dict()["column"], bare.x, bare.y) == ("max", (0.001, 1.0), (1.0, 100.0))
    assert [sum(area[::2]) for _, area in bare.views] == [
        pytest.approx(100 * 626 / 640),
        pytest.approx(100 * 310 / 324),
    ]


def test_histograms_count_every_live_feature_once():
    packed = columns([np.nan] * 4, share=np.array([0.0, 1.0, 0.5, 0.3], np.float32))
    assert sum(row["n"] for row in rows_of(density_histogram(packed))) == 3
    assert share_histogram(packed) is None
    sided = dataclasses.replace(packed, sides=("a", "b"))
    assert sum(row["n"] for row in rows_of(share_histogram(sided))) == 3
