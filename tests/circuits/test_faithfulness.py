"""The truth is the smallest circuit that does the task, areas are those of the curve, chance does worse."""

from __future__ import annotations

import pytest
import torch
from planting import scores_of, tried

from monosema.circuits import LogitDifference, Trial, curve, random_curve, smallest, trial_of
from monosema.circuits.planted import Planted
from monosema.core import InputError


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


def test_a_model_that_cannot_do_the_task_is_refused(induction: tuple[Planted, Trial]) -> None:
    subject, trial = induction
    turned = lambda logits, contrast: -LogitDifference()(logits, contrast)  # noqa: E731
    turned.name = "turned"  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no better"):
        trial_of(subject.model, trial.contrasts, trial.ablation, turned)  # type: ignore[arg-type]
