"""Mask gradients: planted circuits are found, and the scores of enough steps sum to the whole difference."""

from __future__ import annotations

import pytest
import torch

from monosema.circuits import LogitDifference, ablation_named, trial_of
from monosema.circuits.mask_gradients import mask_gradients
from monosema.circuits.planted import PLANTED


@pytest.mark.parametrize("name", ["reverse", "proportion", "induction", "indirect-object"])
def test_planted_circuits_are_found_and_scores_sum_to_the_difference(name: str) -> None:
    subject, metric = PLANTED[name](8), LogitDifference()
    ablation = ablation_named(subject.ablation)
    scores = mask_gradients(subject.model, subject.contrasts, ablation, metric, steps=20)
    assert subject.auroc(scores) >= 0.95
    trial = trial_of(subject.model, subject.contrasts, ablation, metric)
    # Their sum by prompt is that of the path from no edge exchanged to all.
    assert torch.allclose(scores.by_prompt.sum((1, 2)), trial.whole - trial.empty, rtol=0.1, atol=0.1)


def test_parts_that_fit_memory_give_the_same_scores() -> None:
    subject, metric = PLANTED["induction"](5), LogitDifference()
    ablation = ablation_named("resample")
    whole = mask_gradients(subject.model, subject.contrasts, ablation, metric, steps=2)
    parts = mask_gradients(subject.model, subject.contrasts, ablation, metric, steps=2, row_bytes=1)
    assert torch.allclose(whole.by_prompt, parts.by_prompt, atol=1e-5)
