"""Verification: exact scores agree with themselves, chance with nothing, and first edges are measured one by one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from monosema.circuits import LogitDifference, Problem, ablation_named, verify
from monosema.circuits.methods import METHODS
from monosema.circuits.planted import PLANTED
from monosema.core import InputError

SUBJECT = PLANTED["induction"](6)
PROBLEM = Problem(SUBJECT.model, SUBJECT.contrasts, ablation_named(SUBJECT.ablation), LogitDifference())
EXACT = METHODS["exact"](PROBLEM)
NAMED_OTHERWISE = dataclasses.replace(EXACT, about=dataclasses.replace(EXACT.about, method="eap"))


def test_scores_that_are_exact_agree_wholly_where_they_go_by_another_name() -> None:
    found = verify(PROBLEM, NAMED_OTHERWISE, edges=1000, first=len(SUBJECT.truth))
    assert found is not None
    assert found.pearson is not None
    assert found.pearson.value == pytest.approx(1)
    assert (found.drawn, found.total, found.prompts) == (SUBJECT.graph.n_edges, SUBJECT.graph.n_edges, 6)
    assert {one.name for one in found.first} == set(SUBJECT.truth.edge_names())
    assert all(one.confirmed and one.estimated == pytest.approx(one.exact.value, abs=1e-4) for one in found.first)
    assert verify(PROBLEM, EXACT) is None


def test_chance_agrees_with_nothing() -> None:
    found = verify(PROBLEM, METHODS["random"](PROBLEM), edges=60, first=4)
    assert found is not None
    assert found.spearman is not None
    assert found.spearman.low < 0.2
    assert (found.drawn, len(found.first)) == (60, 4)
    assert not all(one.confirmed for one in found.first)
    assert "drawn at random" in found.sentences[0]


def test_scores_that_are_all_equal_have_no_correlation_and_too_many_edges_are_refused() -> None:
    nothing = dataclasses.replace(NAMED_OTHERWISE, by_prompt=torch.zeros_like(EXACT.by_prompt))
    found = verify(PROBLEM, nothing, edges=20)
    assert found is not None
    assert found.pearson is None
    assert "no correlation" in found.sentences[0]
    with pytest.raises(InputError, match="edges are not valid"):
        verify(PROBLEM, nothing, first=10_000)
