"""Circuits are judged: the truth is faithful and complete, a part of it isn't, and areas are what they say."""

from __future__ import annotations

import pytest
import torch

from monosema.circuits import Circuit, EdgeScores, LogitDifference, Provenance, ablation_named
from monosema.circuits.completeness import completeness, minimality
from monosema.circuits.faithfulness import Trial, curve, random_curve, smallest, trial_of
from monosema.circuits.planted import PLANTED, Planted
from monosema.circuits.specificity import specificity
from monosema.circuits.stability import stability
from monosema.core import InputError

ABOUT = Provenance(
    method="truth", ablation="", metric="", task="", model="", n=16, forward=0.0, backward=0.0, seconds=0.0
)


def tried(name: str) -> tuple[Planted, Trial]:
    subject = PLANTED[name](16)
    ablation = ablation_named(subject.ablation)
    return subject, trial_of(subject.model, subject.contrasts, ablation, LogitDifference())


def scores_of(subject: Planted) -> EdgeScores:
    """The truth as scores, the same from every prompt."""
    by_prompt = subject.truth.keep.float().expand(16, -1, -1)
    return EdgeScores(graph=subject.graph, by_prompt=by_prompt, about=ABOUT)


@pytest.fixture(scope="module")
def induction() -> tuple[Planted, Trial]:
    return tried("induction")


def test_true_scores_give_the_true_circuit_as_the_smallest(induction: tuple[Planted, Trial]) -> None:
    subject, trial = induction
    circuit, faithful = smallest(trial, scores_of(subject))
    assert torch.equal(circuit.keep, subject.truth.keep)
    assert faithful.low > 0.9


def test_areas_are_those_of_the_curve(induction: tuple[Planted, Trial]) -> None:
    subject, trial = induction
    total, truth = subject.graph.n_edges, len(subject.truth)
    found = curve(trial, scores_of(subject), sizes=[truth - 1, truth, total])
    values = [one.value for one in found.faithfulness]
    assert values == pytest.approx([0, 1, 1], abs=0.03)
    share = (1 - (values[0] + values[1]) / 2) * 1 / (total - truth + 1)
    assert found.cmd().value == pytest.approx(share, abs=0.01)
    assert found.cpr().value == pytest.approx(1 - share, abs=0.01)
    assert found.cmd("log").value > found.cmd().value
    assert found.cmd().low <= found.cmd().value <= found.cmd().high


def test_random_circuits_of_equal_size_do_worse(induction: tuple[Planted, Trial]) -> None:
    subject, trial = induction
    found, chance = curve(trial, scores_of(subject)), random_curve(trial)
    assert found.sizes == chance.sizes
    assert found.cmd().high < chance.cmd().low
    for (low, middle, high), one in zip(found.quantiles(), found.faithfulness, strict=True):
        assert low <= middle <= high
        assert low - 0.1 <= one.value <= high + 0.1


def test_only_the_backup_makes_a_faithful_circuit_incomplete() -> None:
    subject, trial = tried("backup")
    first = subject.alternatives[0]
    assert trial.faithfulness(trial.run([first])[0]).value == pytest.approx(1, abs=0.05)
    assert completeness(trial, first).without.value == pytest.approx(1, abs=0.05)
    assert completeness(trial, first).worst.value == pytest.approx(1, abs=0.05)
    assert completeness(trial, subject.truth).without.value == pytest.approx(0, abs=0.1)
    subject, trial = tried("induction")
    assert completeness(trial, subject.truth).worst.value < 0.1


def test_an_idle_node_is_told_from_those_that_work(induction: tuple[Planted, Trial]) -> None:
    subject, trial = induction
    idle = Circuit.of_edges(subject.graph, [*subject.truth.edge_names(), "a0.h2->m1", "a0.h2->logits"])
    tests = {test.node.name: test for test in minimality(trial, idle)}
    assert {name for name, test in tests.items() if test.idle} == {"a0.h2"}
    assert tests["a1.h1"].whole.value == pytest.approx(1, abs=0.1)


def test_scores_that_every_prompt_shares_are_stable_and_noise_is_as_chance(induction: tuple[Planted, Trial]) -> None:
    subject, _ = induction
    size = len(subject.truth)
    sure = stability(scores_of(subject), size, forms=["a", "b"] * 8)
    assert sure.edges.value == 1
    assert sure.forms is not None
    assert sure.forms.value == 1
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(200, *subject.graph.allowed.shape, generator=generator)
    # One prompt each: resamples of many would share prompts.
    forms = [str(index) for index in range(200)]
    unsure = stability(EdgeScores(graph=subject.graph, by_prompt=noise, about=ABOUT), size, forms, resamples=2)
    assert unsure.forms is not None
    assert unsure.forms.value == pytest.approx(unsure.chance, abs=0.02)


def test_tasks_of_two_circuits_are_dissociated_and_of_one_are_not(induction: tuple[Planted, Trial]) -> None:
    subject, trial = induction
    nothing = Circuit.of_edges(subject.graph, ["embed->logits"])
    one = specificity({"a": trial, "b": trial}, {"a": subject.truth, "b": nothing})
    assert one.lost["a"]["b"].value == pytest.approx(1, abs=0.1)
    assert one.lost["b"]["b"].value == pytest.approx(0, abs=0.01)
    assert one.verdict == "Double dissociation: none among 1 pairs of tasks."
    with pytest.raises(InputError, match="two or more tasks"):
        specificity({"a": trial}, {"a": subject.truth})


def test_a_model_that_cannot_do_the_task_is_refused(induction: tuple[Planted, Trial]) -> None:
    subject, trial = induction
    turned = lambda logits, contrast: -LogitDifference()(logits, contrast)  # noqa: E731
    turned.name = "turned"  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no better"):
        trial_of(subject.model, trial.contrasts, trial.ablation, turned)  # type: ignore[arg-type]
