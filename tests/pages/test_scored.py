"""Scores beside their controls."""

import pytest

from monosema.atlas import PERSON, Explanation, Score, open_atlas, record
from monosema.core import Estimate
from monosema.pages.scored import LABELS, scored

RANDOM = Estimate(0.6, 0.5, 0.7, 100)


def test_shares_of_labels_and_of_methods_above_their_controls(fake_atlas, tmp_path):
    atlas = fake_atlas(tmp_path / "atlas", n=6, scores=False)
    lookup = Explanation("monosema", "lookup", None, None, "a", "{}")
    graph = Explanation("monosema", "graph", None, None, "b", "{}")
    person = Explanation("Ada", PERSON, None, None, "c")

    def score(one, value, low, scorer="detection"):
        random = RANDOM if one is lookup else Estimate(0.4, 0.3, 0.5, 100)
        return Score(*one.identity, scorer, Estimate(value, low, 1.0, 40), 0.45, chance=0.5, random=random)

    record(
        atlas,
        {0: [lookup, graph], 1: [lookup, graph], 2: [lookup], 3: [person]},
        {
            0: [score(lookup, 0.95, 0.9), score(graph, 0.8, 0.7), score(lookup, 1.0, 0.9, "detection (top)")],
            1: [score(lookup, 0.6, 0.48), score(graph, 0.7, 0.55)],
            2: [score(lookup, 0.65, 0.52)],
        },
    )
    found = scored(open_atlas(atlas), "detection")
    assert [(one.scorer, one.method, one.own) for one in found] == [
        ("detection", LABELS, True),
        ("detection", "graph", True),
        ("detection", "lookup", True),
        ("detection (top)", LABELS, False),
        ("detection (top)", "lookup", False),
    ]
    labels, by_graph, by_lookup = found[:3]
    # The labels are the lookup's of 0 and 2 and the graph's of 1.
    assert (labels.mean.n, labels.mean.value) == (3, pytest.approx((0.95 + 0.7 + 0.65) / 3))
    assert (labels.chance, labels.shuffled.value, labels.random.value) == (0.5, pytest.approx(0.45), 0.6)
    assert (labels.above_shuffled.value, labels.above.value) == (1.0, pytest.approx(2 / 3))
    assert (by_lookup.above_shuffled.value, by_lookup.above.value) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (by_graph.above_shuffled.value, by_graph.above.value) == (1.0, 1.0)
    assert (by_graph.random.low, by_graph.random.high) == (0.3, 0.5)
