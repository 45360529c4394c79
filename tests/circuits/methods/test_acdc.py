"""ACDC: decisions don't depend on the size of batches, and planted circuits are found."""

from __future__ import annotations

import pytest
import torch

from monosema.circuits import LogitDifference, ablation_named
from monosema.circuits.methods import Acdc, Problem
from monosema.circuits.planted import PLANTED


@pytest.mark.parametrize("name", ["reverse", "proportion", "induction", "indirect-object"])
def test_planted_circuits_are_found(name: str) -> None:
    subject = PLANTED[name](6)
    scores = Acdc()(Problem(subject.model, subject.contrasts, ablation_named(subject.ablation), LogitDifference()))
    assert subject.auroc(scores) == 1


def test_batches_of_any_size_decide_alike() -> None:
    subject = PLANTED["induction"](3)
    given = (subject.model, subject.contrasts, ablation_named(subject.ablation), LogitDifference())
    batches, singles = Acdc(at_once=40)(Problem(*given)), Acdc(at_once=3)(Problem(*given))
    assert torch.allclose(batches.by_prompt, singles.by_prompt, atol=1e-4)
    assert batches.about.forward > singles.about.forward
