"""A circuit at work: all edges are the clean model, none the corrupted one; names, connection, shared keys."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.letters import task_of_letters

from monosema.circuits import (
    Circuit,
    Contrasts,
    LogitDifference,
    Resample,
    circuit_metrics,
    component_graph,
    contrasts,
    contributions,
    end_metrics,
)
from monosema.circuits.memory import pass_memory
from monosema.core import InputError
from monosema.data.tasks import Prompt, Task
from monosema.models import Transformer, random_model


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


@pytest.fixture(scope="module")
def letters(model: Transformer) -> Contrasts:
    return contrasts(task_of_letters(), model)


def test_what_writers_add_sums_to_the_residual_stream(model: Transformer, letters: Contrasts) -> None:
    (first, _) = letters.groups
    whole = model.activations(first.clean, ["1.resid_post"])["1.resid_post"]
    assert torch.allclose(contributions(model, first.clean).sum(0), whole, atol=1e-5)


def test_all_edges_are_the_clean_model_and_none_the_corrupted_one(model: Transformer, letters: Contrasts) -> None:
    graph, metric = component_graph(model), LogitDifference()
    clean, corrupt = end_metrics(model, letters, metric)
    full, empty = circuit_metrics(
        model, letters, graph, [graph.allowed, torch.zeros_like(graph.allowed)], Resample(), metric
    )
    assert torch.allclose(full, clean, atol=1e-5)
    assert torch.allclose(empty, corrupt, atol=1e-4)
    assert not torch.allclose(clean, corrupt, atol=1e-2)


def test_parts_that_fit_memory_give_what_one_pass_gives(model: Transformer, letters: Contrasts) -> None:
    graph, metric = component_graph(model), LogitDifference()
    keeps = [Circuit.random(graph, n, seed=n).keep for n in (5, 20, 40)]
    whole = circuit_metrics(model, letters, graph, keeps, Resample(), metric)
    with pass_memory(1e-6):
        parts = circuit_metrics(model, letters, graph, keeps, Resample(), metric)
    assert torch.allclose(whole, parts, atol=1e-5)


def test_edges_off_every_way_have_no_effect(model: Transformer, letters: Contrasts) -> None:
    graph, metric = component_graph(model), LogitDifference()
    some = Circuit.random(graph, 25, seed=1)
    rest = some.connected()
    assert 0 < len(rest) < len(some)
    both = circuit_metrics(model, letters, graph, [some.keep, rest.keep], Resample(), metric)
    assert torch.allclose(both[0], both[1], atol=1e-4)


def test_keys_and_values_that_heads_share_are_inputs_of_each(model: Transformer) -> None:
    graph = component_graph(model)
    # Two keys and values for four heads, in each of two layers.
    assert graph.n_edges == (8 + 5) + (8 * 6 + 10) + 11
    names = [graph.readers[column].name for column in graph.inputs_of(graph.writers[3])]
    assert names == ["a0.h2<q>", "a0.h1<k>", "a0.h1<v>"]
    with pytest.raises(InputError, match=r"a1\.h9"):
        graph.edge("embed->a1.h9<q>")


def test_prompts_of_unequal_length_are_refused_with_the_pair(model: Transformer) -> None:
    good = task_of_letters(1).prompts[0]
    bad = Prompt(clean="ab", corrupt="abc", correct=("x",), wrong=("y",), spans=good.spans[:1], form="")
    task = Task(name="letters", metric="logit_difference", split="test", prompts=(bad, bad, good))
    with pytest.raises(InputError, match="'abc' has"):
        contrasts(task, model)
    mixed = Task(name="letters", metric="logit_difference", split="test", prompts=(bad, good, good))
    assert dict(contrasts(mixed, model).dropped) == {"clean and corrupted prompt differ in length": 1}


def test_less_than_no_memory_is_refused() -> None:
    with pytest.raises(InputError, match="more than 0"), pass_memory(0):
        pass
