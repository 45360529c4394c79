"""Optimal ablation: its constants take less off the model than means and zeros, and are fitted once."""

from __future__ import annotations

from dataclasses import replace

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
    given, graph = contrasts(task_of_letters(24), model), component_graph(model)
    # Measured on the prompts that constants are fitted on, and means taken of.
    prompts = replace(given, groups=tuple(replace(one, clean=one.corrupt) for one in given.groups))
    generator, keeps = torch.Generator().manual_seed(0), [graph.allowed.clone() for _ in range(20)]
    for keep in keeps:
        keep[torch.rand(len(keep), generator=generator) < 0.5] = False

    def lost(ablation: Ablation) -> float:
        return -float(circuit_metrics(model, prompts, graph, keeps, ablation, NegativeDivergence(model)).mean())

    # Without a step they are the means of all prompts.
    assert 0 < lost(Optimal()) < 0.9 * min(lost(Optimal(steps=0)), lost(ablation_named("zero")))


def test_constants_are_fitted_once_for_a_group_and_are_none_of_places() -> None:
    model, ablation = random_model(), Optimal(steps=2)
    groups = contrasts(task_of_letters(4), model).groups
    first, again = ([ablation.stand_ins(model, group) for group in groups] for _ in range(2))
    for group, one, other in zip(groups, first, again, strict=True):
        assert one(group[:1]).data_ptr() == other(group[:1]).data_ptr()
    with pytest.raises(InputError, match="resample, mean or zero"):
        ablation.values(torch.zeros(1), torch.zeros(1), groups[0])
    assert ablation_named("optimal").name == "optimal"
