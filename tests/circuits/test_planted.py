"""Planted models do their tasks, by their circuit alone, and each of its edges matters."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from monosema.circuits import Circuit, EdgeScores, LogitDifference, Provenance, circuit_metrics, end_metrics
from monosema.circuits.ablations import ablation_named
from monosema.circuits.planted import PLANTED, Planted

ONE_CIRCUIT = ("reverse", "proportion", "induction", "indirect-object")


@pytest.fixture(scope="module", params=PLANTED)
def subject(request: pytest.FixtureRequest) -> Planted:
    return PLANTED[request.param]()


def metrics(subject: Planted, *circuits: Circuit) -> Tensor:
    keeps = [circuit.keep for circuit in circuits]
    ablation = ablation_named(subject.ablation)
    return circuit_metrics(subject.model, subject.contrasts, subject.graph, keeps, ablation, LogitDifference())


def exact(subject: Planted) -> EdgeScores:
    whole, graph = subject.graph.allowed, subject.graph
    edges = graph.allowed.nonzero()
    keeps = whole.repeat(len(edges), 1, 1)
    keeps[torch.arange(len(edges)), edges[:, 0], edges[:, 1]] = False
    all_of_it, *without = metrics(subject, Circuit(graph, whole), *(Circuit(graph, keep) for keep in keeps))
    by_prompt = torch.zeros(len(all_of_it), *whole.shape)
    by_prompt[:, edges[:, 0], edges[:, 1]] = (all_of_it - torch.stack(without)).T
    about = Provenance(
        method="one at a time", ablation=subject.ablation, metric="logit_difference", task=subject.name,
        model=subject.name, n=len(all_of_it), forward=float(len(edges)), backward=0.0, seconds=0.0,
    )  # fmt: skip
    return EdgeScores(graph=graph, by_prompt=by_prompt, about=about)


def test_it_answers_and_its_corruption_does_not(subject: Planted) -> None:
    clean, corrupt = end_metrics(subject.model, subject.contrasts, LogitDifference())
    assert clean.min() > 0.9
    assert corrupt.mean() < 0.2 * clean.mean()


def test_each_of_its_circuits_does_the_task_alone(subject: Planted) -> None:
    whole, empty, *alone = metrics(
        subject,
        Circuit(subject.graph, subject.graph.allowed),
        Circuit.of_edges(subject.graph, []),
        *subject.alternatives,
    )
    assert empty.mean() < 0.2 * whole.mean()
    for figures in alone:
        assert torch.allclose(figures, whole, rtol=0.05)


@pytest.mark.parametrize("name", ONE_CIRCUIT)
def test_exactly_the_edges_of_the_circuit_matter(name: str) -> None:
    subject = PLANTED[name]()
    scores = exact(subject)
    assert subject.auroc(scores) == 1.0
    whole = metrics(subject, subject.truth).mean()
    assert scores.values[subject.truth.keep].min() > 0.1 * whole
    assert scores.values[~subject.truth.keep].abs().max() < 1e-4


@pytest.mark.parametrize("name", ONE_CIRCUIT)
def test_no_part_of_the_circuit_does_the_task(name: str) -> None:
    subject = PLANTED[name](8)
    names = subject.truth.edge_names()
    parts = [part for n in range(1, len(names)) for part in itertools.combinations(names, n)]
    whole, *figures = metrics(subject, subject.truth, *(Circuit.of_edges(subject.graph, part) for part in parts))
    assert max(row.mean() for row in figures) < 0.6 * whole.mean()


@pytest.mark.parametrize("name", ONE_CIRCUIT)
def test_scores_by_chance_know_nothing(name: str) -> None:
    subject = PLANTED[name]()
    about = exact(subject).about
    found = []
    for seed in range(150):
        drawn = torch.rand(1, *subject.graph.allowed.shape, generator=torch.Generator().manual_seed(seed))
        found.append(subject.auroc(EdgeScores(graph=subject.graph, by_prompt=drawn, about=about)))
    assert abs(sum(found) / len(found) - 0.5) < 0.05


def test_without_either_head_the_backup_does_the_task_and_without_both_nothing_does() -> None:
    subject = PLANTED["backup"]()
    first, second = subject.alternatives
    whole, no_first, no_second, neither = metrics(
        subject,
        Circuit(subject.graph, subject.graph.allowed),
        first.complement(),
        second.complement(),
        subject.truth.complement(),
    )
    assert torch.allclose(no_first, whole, rtol=0.05)
    assert torch.allclose(no_second, whole, rtol=0.05)
    assert neither.abs().max() < 0.1 * whole.mean()
