"""Planted models on trial, for tests of what judges circuits."""

from __future__ import annotations

from monosema.circuits import EdgeScores, LogitDifference, Provenance, Trial, ablation_named, trial_of
from monosema.circuits.planted import PLANTED, Planted

ABOUT = Provenance(
    method="truth", ablation="", metric="", task="", model="", n=16, forward=0.0, backward=0.0, seconds=0.0
)


def tried(name: str, n: int = 16) -> tuple[Planted, Trial]:
    """A planted model with n prompts, its ends measured."""
    subject = PLANTED[name](n)
    ablation = ablation_named(subject.ablation)
    return subject, trial_of(subject.model, subject.contrasts, ablation, LogitDifference())


def scores_of(subject: Planted) -> EdgeScores:
    """The truth as scores, the same from every prompt."""
    by_prompt = subject.truth.keep.float().expand(len(subject.contrasts), -1, -1)
    return EdgeScores(graph=subject.graph, by_prompt=by_prompt, about=ABOUT)
