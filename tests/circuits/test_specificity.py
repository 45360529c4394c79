"""Tasks of two circuits are dissociated, and tasks of one are not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planting import tried

from monosema.circuits import Circuit, own_edges, specificity
from monosema.core import Estimate, InputError


def test_tasks_of_two_circuits_are_dissociated_and_of_one_are_not() -> None:
    subject, trial = tried("induction")
    nothing = Circuit.of_edges(subject.graph, ["embed->logits"])
    one = specificity({"a": trial, "b": trial}, {"a": subject.truth, "b": nothing})
    assert one.lost["a"]["b"].value == pytest.approx(1, abs=0.1)
    assert one.lost["b"]["b"].value == pytest.approx(0, abs=0.01)
    assert one.verdict == "Double dissociation: none among 1 pairs of tasks."
    with pytest.raises(InputError, match="two or more tasks"):
        specificity({"a": trial}, {"a": subject.truth})
    own, other = Estimate(0.9, 0.8, 1.0, 9), Estimate(0.1, 0.0, 0.2, 9)
    two = replace(one, lost={"a": {"a": own, "b": other}, "b": {"a": other, "b": own}})
    assert two.verdict == "Double dissociation in 1 of 1 pairs of tasks, between a and b."
    half = replace(one, lost={"a": {"a": own, "b": other}, "b": {"a": own, "b": own}})
    assert half.dissociated() == []


def test_own_edges_are_those_of_one_circuit_alone() -> None:
    subject, _ = tried("induction", 4)
    names = subject.truth.edge_names()
    circuits = {"a": Circuit.of_edges(subject.graph, names[:3]), "b": Circuit.of_edges(subject.graph, names[2:])}
    assert {name: one.edge_names() for name, one in own_edges(circuits).items()} == {"a": names[:2], "b": names[3:]}
