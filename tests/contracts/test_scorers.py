"""What every scorer must do, on worlds with planted features and with judges of every mind.

A true explanation scores at least 0.95. A false one, one of another latent, one that says nothing, and a judge who
lies or guesses earn no more than chance and its interval. What was not answered is absent, with a reason, and counted.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from worlds import CopyModel, OneHot, PlantedDictionary, Scripted, World, word_model

from monosema.atlas import Explanation
from monosema.interpretation import SCORERS, Scorer, ScoreTable, ScoringSession, Simulator
from monosema.interpretation.samples import Samples
from monosema.interpretation.scorers.intervention import Intervention, InterventionConfig, write_continuations
from monosema.interpretation.scorers.intruder import Intruder, IntruderConfig
from monosema.interpretation.scorers.simulation import Simulation, SimulationConfig
from monosema.models import AdaptedModel

SETTINGS: dict[str, Scorer] = {
    "intruder": Intruder(IntruderConfig(questions=20)),
    "simulation": Simulation(SimulationConfig(top=6, random=6)),
}
"""Scorers with other settings than their defaults."""
MADE = {name: SETTINGS.get(name) or make() for name, make in SCORERS.items()}
OF_EXPLANATIONS = [name for name in MADE if name != "intruder"]
ASKING = [name for name, scorer in MADE.items() if scorer.info.asks]
SILENT = [name for name in MADE if name not in ASKING]


@functools.cache
def continuations(world: World) -> Samples:
    model = word_model(world)
    beginnings = torch.tensor(world.samples.ids[:8, :2])
    config = InterventionConfig(kl=2.5, max_new_tokens=8)
    return write_continuations(
        world.latents, model, PlantedDictionary(world, model), "1.resid_post", beginnings, config
    )


def scored(
    name: str, world: World, explanations: Mapping[int, Explanation], judge: Scripted | None = None
) -> ScoreTable:
    """A scorer's own metric."""
    client = judge or Scripted()
    made = {
        "base": CopyModel(world.tokenizer),
        "encoder": AdaptedModel(OneHot(world.tokenizer.vocab_size), "one-hot", world.tokenizer),
        "passages": world.tests(),
        "continuations": continuations(world) if MADE[name].__class__ is Intervention else None,
    }
    # What an explanation says is that words activate, not how much: a scripted judge knows 0 and 10 only.
    samples = replace(world.samples, activations=np.sign(world.samples.activations))
    predictor = Simulator(client, world.tokenizer)
    session = ScoringSession(samples, world.tokenizer, predictor, client if name in ASKING else None, made=made)
    return session.scores(explanations, [MADE[name]])[0]


@pytest.fixture(scope="module")
def world() -> World:
    return World(latents=3, each=4)


CONSTANT = "the prediction is the same on all tokens"
"""Why a simulation that never predicts anything has no correlation."""


def at_chance(table: ScoreTable) -> bool:
    """Whether no score is above chance by more than its interval; a constant prediction earns no score at all."""
    assert table.estimates or table.failures.keys() == {CONSTANT}
    return all(estimate.low <= table.chance for estimate in table.estimates.values())


@pytest.mark.parametrize("name", MADE)
def test_a_true_explanation_scores(world: World, name: str) -> None:
    table = scored(name, world, world.oracle)
    assert (table.scorer, table.part) == (name, "")
    assert table.estimates.keys() == set(world.latents)
    assert not table.absent
    for estimate in table.estimates.values():
        assert estimate.value >= 0.95
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n >= 10


@pytest.mark.parametrize("name", OF_EXPLANATIONS)
def test_a_false_explanation_does_not(world: World, name: str) -> None:
    assert at_chance(scored(name, world, world.wrong))


@pytest.mark.parametrize("name", OF_EXPLANATIONS)
def test_to_say_nothing_is_chance(world: World, name: str) -> None:
    table = scored(name, world, world.empty)
    if name == "simulation":
        # A constant has no correlation: that is said, and is no 0.
        assert table.failures == {CONSTANT: len(world.latents)}
    else:
        assert [estimate.value for estimate in table.estimates.values()] == pytest.approx([0.5] * len(world.latents))


@pytest.mark.parametrize("name", MADE)
def test_the_control_is_chance(world: World, name: str) -> None:
    table = scored(name, world, world.oracle)
    # A shuffled explanation that predicts the same everywhere is worth chance.
    assert table.controls.keys() == set(table.estimates)
    assert max(table.controls.values(), default=0.0) <= table.chance + 0.1


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize("mind", ["liar", "random"])
def test_judges_who_lie_or_guess_earn_nothing(world: World, name: str, mind: str) -> None:
    table = scored(name, world, world.oracle, Scripted(mind))
    # Of many guesses some are lucky: the mean is held against chance.
    assert np.mean([estimate.low for estimate in table.estimates.values()]) <= table.chance


@pytest.mark.parametrize("name", ASKING)
def test_refused_answers_are_absent_and_counted(world: World, name: str) -> None:
    table = scored(name, world, world.oracle, Scripted("refusal"))
    assert not table.estimates
    assert table.absent.keys() == set(world.latents)
    assert sum(table.failures.values()) == len(world.latents)
    assert all("answer" in reason or "predicted" in reason for reason in table.absent.values())
    partly = scored(name, world, world.oracle, Scripted("refusal", share=0.4))
    assert all(estimate.value >= 0.95 for estimate in partly.estimates.values())
    whole = scored(name, world, world.oracle)
    assert sum(e.n for e in partly.estimates.values()) < sum(e.n for e in whole.estimates.values())


@pytest.mark.parametrize("name", SILENT)
def test_a_latent_without_inactive_passages_is_absent(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = world.tests()
    lonely = world.latents[0]
    samples = world.samples
    kept = entries[samples.active[entries] | (samples.latents[samples.row[entries]] != lonely)]
    monkeypatch.setattr(world, "tests", lambda: kept)
    table = scored(name, world, world.oracle)
    assert set(table.absent) == {lonely}
    assert "no inactive passage" in table.absent[lonely]
    assert np.isfinite([estimate.value for estimate in table.estimates.values()]).all()
