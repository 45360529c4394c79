"""Tables of scores beside their controls."""

from __future__ import annotations

from monosema.core import Estimate
from monosema.interpretation.scores import ScoreTable


def _of(value: float) -> Estimate:
    return Estimate(value, value - 0.1, value + 0.1, 20, "bootstrap")


def test_a_shuffled_explanation_that_predicts_the_same_everywhere_is_worth_chance() -> None:
    table = ScoreTable("simulation", {1: _of(0.5), 2: _of(0.05), 3: _of(0.9)}, chance=0.0)
    other = ScoreTable(
        "simulation", {1: _of(0.2)}, {2: "the prediction is the same on all tokens", 4: "few"}, chance=0.0
    )
    beside = table.controlled_by(other)
    assert beside.controls == {1: 0.2, 2: 0.0}
    assert beside.above() == [1, 3]


def test_where_there_is_no_chance_nothing_stands_in_for_a_missing_control() -> None:
    table = ScoreTable("effect", {1: _of(0.5)})
    assert table.controlled_by(ScoreTable("effect", {}, {1: "no text"})).controls == {}
