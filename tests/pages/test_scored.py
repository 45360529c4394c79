"""Scores beside their controls."""

import math

import numpy as np
import pytest

from monosema.atlas import PERSON, Explanation, Score, open_atlas, record
from monosema.core import Estimate
from monosema.pages.scored import LABELS, Control, Controls, scored

RANDOM = Estimate(0.6, 0.5, 0.7, 100)
CONTROLS = Controls(
    [
        Control(method="lookup", scorer="detection", chance=0.5, random=RANDOM),
        Control(method="graph", scorer="detection", chance=0.5, random=Estimate(0.4, 0.3, 0.5, 100)),
        Control(method="lookup", scorer="detection (top)", chance=0.5, part=True),
    ]
)


@pytest.mark.parametrize(
    ("method", "shuffled", "with_random", "floor"),
    [
        ("lookup", 0.1, True, 0.6),
        ("lookup", 0.1, False, 0.5),
        ("lookup", 0.7, True, 0.7),
        ("lookup", math.nan, True, 0.6),
        ("graph", 0.1, True, 0.5),
        (LABELS, 0.1, True, 0.6),
        ("another", 0.1, True, 0.6),
    ],
)
def test_a_margin_is_taken_from_the_highest_control(method, shuffled, with_random, floor):
    margin = CONTROLS.margins(method, "detection", np.array([0.9]), np.array([shuffled]), with_random)
    assert margin.tolist() == [pytest.approx(0.9 - floor)]


def test_without_any_control_there_is_no_margin():
    assert np.isnan(Controls().margins("lookup", "detection", np.array([0.9]), np.array([math.nan]))).all()


def test_shares_of_labels_and_of_methods_above_their_controls(fake_atlas, tmp_path):
    atlas = fake_atlas(tmp_path / "atlas", n=6, scores=False)
    lookup = Explanation("monosema", "lookup", None, None, "a", "{}")
    graph = Explanation("monosema", "graph", None, None, "b", "{}")
    person = Explanation("Ada", PERSON, None, None, "c")

    def scores(one, value, low):
        return Score(*one.identity, "detection", Estimate(value, low, 1.0, 40), 0.45)

    record(
        atlas,
        {0: [lookup, graph], 1: [lookup, graph], 2: [lookup], 3: [person]},
        {
            0: [scores(lookup, 0.95, 0.9), scores(graph, 0.8, 0.7)],
            1: [scores(lookup, 0.6, 0.48), scores(graph, 0.7, 0.55)],
            2: [scores(lookup, 0.65, 0.52)],
        },
    )
    labels, by_lookup, by_graph = sorted(scored(open_atlas(atlas), CONTROLS), key=lambda one: one.mean.n != 3)
    labels, by_lookup = (labels, by_lookup) if labels.method == LABELS else (by_lookup, labels)
    # The labels are the lookup's of 0 and 2 and the graph's of 1.
    assert (labels.mean.n, labels.mean.value) == (3, pytest.approx((0.95 + 0.7 + 0.65) / 3))
    assert (labels.above.value, labels.above_random.value) == (1.0, pytest.approx(1 / 3))
    assert labels.random == RANDOM
    assert labels.shuffled.value == pytest.approx(0.45)
    assert (by_lookup.above.value, by_lookup.above_random.value) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (by_graph.above.value, by_graph.above_random.value) == (1.0, 1.0)
    assert not labels.part
    assert CONTROLS.part("detection (top)")
