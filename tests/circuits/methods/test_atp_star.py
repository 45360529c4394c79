"""AtP*: what a saturated softmax hides from a gradient, and what two ways that cancel hide, has a score."""

from __future__ import annotations

import itertools

import pytest
from tests.helpers.families import KINDS, family_model
from tests.helpers.letters import task_of_letters

from monosema.circuits import LogitDifference, ablation_named, agreement, contrasts
from monosema.circuits.methods import METHODS, Problem
from monosema.circuits.planted import PLANTED, Planted
from monosema.circuits.planted.planted import planted, prompt
from monosema.circuits.planted.wiring import LETTERS, Wiring, at, same


def problem_of(subject: Planted) -> Problem:
    return Problem(subject.model, subject.contrasts, ablation_named(subject.ablation), LogitDifference())


@pytest.mark.parametrize("kind", KINDS)
def test_edges_into_the_last_queries_and_keys_are_exact_but_for_the_last_norm(kind: str) -> None:
    model = family_model(kind, seed=1)
    problem = Problem(model, contrasts(task_of_letters(2), model), ablation_named("resample"), LogitDifference())
    found, exact = METHODS["atp-star"](problem), METHODS["exact"](problem)
    columns = [reader.port in ("q", "k") and reader.node.layer == model.n_layers - 1 for reader in found.graph.readers]
    found, exact = (scores.by_prompt[:, :, columns].flatten() for scores in (found, exact))
    assert agreement(found[exact != 0], exact[exact != 0]).pearson > 0.85


def test_a_saturated_softmax_hides_nothing() -> None:
    subject = PLANTED["reverse"](8)
    problem = problem_of(subject)
    exact, gradient, found = (METHODS[name](problem).values for name in ("exact", "eap", "atp-star"))
    for edge in (subject.graph.edge("embed->a0.h1<q>"), subject.graph.edge("embed->a0.h1<k>")):
        assert float(gradient[edge]) < 0.05 * float(exact[edge])
        assert float(found[edge]) == pytest.approx(float(exact[edge]), rel=1e-3)


def test_two_ways_that_cancel_hide_nothing() -> None:
    wiring = Wiring("cancelling", 3)
    # What the head copies is at the logits, and taken back by an MLP, in part; at the clean prompt slopes are alike.
    wiring.head(0, 0, attend=[], copy=same("token", "out"), gain=4.0)
    outputs = [at("out", index) for index in range(len(LETTERS))]
    wiring.mlp(1, [({out: 2.0}, -1.0, {out: -0.495}) for out in outputs])
    pairs = [prompt([one, other], one, other) for one, other in itertools.pairwise(LETTERS)]
    subject = planted(wiring.model, "cancelling", pairs, "zero", ["embed->a0.h0<v>"])
    problem, edge = problem_of(subject), subject.graph.edge("embed->a0.h0<v>")
    exact, gradient, found = (float(METHODS[name](problem).values[edge]) for name in ("exact", "eap", "atp-star"))
    assert abs(gradient) < 0.05 * exact
    assert found > 0.4 * exact


@pytest.mark.parametrize("name", ["reverse", "proportion", "induction", "indirect-object"])
def test_planted_circuits_are_found(name: str) -> None:
    subject = PLANTED[name](8)
    assert subject.auroc(METHODS["atp-star"](problem_of(subject))) >= 0.95
