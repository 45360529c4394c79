"""Exact scores: forked versions give what one exchange at a time gives, in every kind of decoder."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.families import KINDS, family_model
from tests.helpers.letters import task_of_letters

from monosema.circuits import LogitDifference, ablation_named, circuit_metrics, component_graph, contrasts
from monosema.circuits.memory import pass_memory
from monosema.circuits.methods import METHODS, Problem, exact_nodes


@pytest.mark.parametrize("kind", KINDS)
def test_forked_edges_and_nodes_are_those_exchanged_one_at_a_time(kind: str) -> None:
    model = family_model(kind, seed=1)
    given = (model, contrasts(task_of_letters(2), model), ablation_named("resample"), LogitDifference())
    graph, scores = component_graph(model), METHODS["exact"](Problem(*given))
    keeps, places = [graph.allowed], [(w, r) for w, r in graph.allowed.nonzero().tolist()][::5]
    for w, r in places:
        keep = graph.allowed.clone()
        keep[w, r] = False
        keeps.append(keep)
    for w in range(len(graph.writers)):
        keep = graph.allowed.clone()
        keep[w] = False
        keeps.append(keep)
    whole, *rest = circuit_metrics(given[0], given[1], graph, keeps, given[2], given[3])
    slow = torch.stack([whole - one for one in rest], dim=1)
    fast = torch.stack([scores.by_prompt[:, w, r] for w, r in places], dim=1)
    assert torch.allclose(fast, slow[:, : len(places)], atol=1e-5)
    assert float(slow.abs().max()) > 1e-2
    assert torch.allclose(exact_nodes(Problem(*given)).by_prompt, slow[:, len(places) :], atol=1e-5)


def test_versions_in_small_batches_give_the_same() -> None:
    model = family_model("llama", seed=1)
    given = (model, contrasts(task_of_letters(2), model), ablation_named("mean"), LogitDifference())
    whole = METHODS["exact"](Problem(*given))
    with pass_memory(1e-6):
        parts = METHODS["exact"](Problem(*given))
    assert torch.allclose(whole.by_prompt, parts.by_prompt, atol=1e-5)
