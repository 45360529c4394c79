"""Optimal ablation: its constants take less off the model than means and zeros, and are fitted once."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.letters import task_of_letters

from monosema.circuits import (
    Ablation,
    NegativeDivergence,
    ablation_named,
    circuit_metrics,
    component_graph,
    contrasts,
)
from monosema.circuits.optimal import Optimal
from monosema.core import InputError
from monosema.models import random_model


def test_constants_take_less_off_the_model_than_means_and_nothing() -> None:
    model = random_model()
    prompts, graph = contrasts(task_of_letters(8), model), component_graph(model)
    keeps = [graph.allowed.clone() for _ in range(1, len(graph.writers))]
    for row, keep in enumerate(keeps, 1):
        keep[row] = False

    def lost(ablation: Ablation) -> float:
        return -float(circuit_metrics(model, prompts, graph, keeps, ablation, NegativeDivergence(model)).mean())

    optimal = lost(Optimal())
    assert 0 < optimal < 0.9 * min(lost(ablation_named("mean")), lost(ablation_named("zero")))


def test_constants_are_fitted_once_for_a_group_and_are_none_of_places() -> None:
    model, ablation = random_model(), Optimal(steps=2)
    groups = contrasts(task_of_letters(4), model).groups
    first, again = ([ablation.stand_ins(model, group) for group in groups] for _ in range(2))
    for group, one, other in zip(groups, first, again, strict=True):
        assert one(group[:1]).data_ptr() == other(group[:1]).data_ptr()
    with pytest.raises(InputError, match="resample, mean or zero"):
        ablation.values(torch.zeros(1), torch.zeros(1), groups[0])
    assert ablation_named("optimal").name == "optimal"
