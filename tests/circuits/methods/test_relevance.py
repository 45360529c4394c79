"""Relevance: the rules leave values alone, and what they carry back is the whole of a model without biases."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.families import KINDS, family_model
from tests.helpers.letters import task_of_letters

from monosema.attribution.rules import relevance_rules
from monosema.circuits import LogitDifference, ablation_named, component_graph, contrasts, end_metrics
from monosema.circuits.methods import METHODS, Problem, Relevance
from monosema.circuits.planted import PLANTED
from monosema.models import random_model


@pytest.mark.parametrize("kind", KINDS)
def test_rules_change_gradients_and_no_values(kind: str) -> None:
    model = family_model(kind, seed=1)
    tokens = torch.tensor([[1, 2, 3, 4]])
    with relevance_rules(model):
        ruled = model(tokens)
    assert torch.allclose(ruled, model(tokens), atol=1e-4)
    given = (model, contrasts(task_of_letters(2), model), ablation_named("resample"), LogitDifference())
    assert not torch.allclose(
        METHODS["relp"](Problem(*given)).by_prompt, METHODS["eap"](Problem(*given)).by_prompt, atol=1e-3
    )


@pytest.mark.parametrize("pattern", ["half", "constant"])
def test_what_nothing_stands_in_for_is_carried_back_whole(pattern: str) -> None:
    model = random_model()
    prompts, metric = contrasts(task_of_letters(2), model), LogitDifference()
    clean, _ = end_metrics(model, prompts, metric)
    scores = Relevance(pattern=pattern)(Problem(model, prompts, ablation_named("zero"), metric)).by_prompt
    # Every rule conserves what comes in, so what reaches the logits is the metric itself.
    assert torch.allclose(scores[:, :, -1].sum(1), clean, atol=1e-4)
    queries = [column for column, reader in enumerate(component_graph(model).readers) if reader.port == "q"]
    assert bool((scores[:, :, queries] == 0).all()) == (pattern == "constant")


@pytest.mark.parametrize("name", ["reverse", "proportion", "induction", "indirect-object"])
def test_planted_circuits_are_found(name: str) -> None:
    subject = PLANTED[name](8)
    problem = Problem(subject.model, subject.contrasts, ablation_named(subject.ablation), LogitDifference())
    assert subject.auroc(METHODS["relp"](problem)) >= 0.95
