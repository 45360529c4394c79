"""A shown circuit is tested on its own prompts: all that is shown, parts, chosen nodes, and what can't be tested."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.circuits.test_shown import scores_of
from tests.helpers.letters import task_of_letters

from monosema.circuits import (
    PartTrial,
    ShownGraph,
    component_graph,
    contrasts,
    end_metrics,
    metric_of,
    parts,
    show_circuit,
)
from monosema.core import InputError
from monosema.data.tasks import Split, Task, TaskFamily
from monosema.models import Transformer, random_model


def letters(rng: random.Random, n: int, split: Split) -> Task:
    return task_of_letters(n)


FAMILY = TaskFamily(
    name="letters", about="letters", metric="logit_difference", sentences=lambda rng, n, split: [], prompts=letters
)


@pytest.fixture
def model() -> Transformer:
    return random_model(seed=0)


@pytest.fixture
def shown(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> ShownGraph:
    monkeypatch.setitem(parts.ALL_TASKS, "letters", FAMILY)
    facts = {"model": model.name, "seed": 0, "split": "test", "n": 6}
    return show_circuit(scores_of(component_graph(model)), title="T", about=facts)


def ready(model: Transformer, shown: ShownGraph) -> PartTrial:
    return PartTrial(model, shown)


def test_all_edges_are_wholly_faithful_and_none_are_not(model: Transformer, shown: ShownGraph) -> None:
    tester = ready(model, shown)
    whole, none = tester.test(len(shown.edges)), tester.test(0)
    assert whole.faithfulness is not None
    assert whole.faithfulness.value == pytest.approx(1, abs=1e-4)
    assert none.faithfulness is not None
    assert none.faithfulness.value == pytest.approx(0, abs=1e-4)
    assert whole.random is not None


def test_without_all_writers_the_whole_difference_is_lost(model: Transformer, shown: ShownGraph) -> None:
    tester = ready(model, shown)
    found = tester.test(0, [node.name for node in shown.nodes if node.kind != "logits"])
    task = contrasts(task_of_letters(6), model)
    clean, corrupt = end_metrics(model, task, metric_of(task, model))
    assert found.measured is not None
    assert found.measured.value == pytest.approx(float((clean - corrupt).mean()), abs=1e-4)
    assert found.n == 6


def test_what_can_not_be_tested_says_why(model: Transformer, shown: ShownGraph) -> None:
    with pytest.raises(InputError, match="doesn’t say which prompts"):
        PartTrial(model, replace(shown, about={}))
    with pytest.raises(InputError, match="one of 'another'"):
        PartTrial(model, replace(shown, about={**shown.about, "model": "another"}))
    with pytest.raises(InputError, match=r"No node .a9\.h9"):
        ready(model, shown).test(3, ["a9.h9"])
    with pytest.raises(InputError, match=r"holds \d+ edges"):
        ready(model, shown).test(10_000)
