"""Scores that every prompt shares are stable; noise is as stable as chance."""

from __future__ import annotations

import pytest
import torch
from planting import ABOUT, scores_of

from monosema.circuits import EdgeScores, stability
from monosema.circuits.planted import PLANTED


def test_scores_that_every_prompt_shares_are_stable_and_noise_is_as_chance() -> None:
    subject = PLANTED["induction"](16)
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
