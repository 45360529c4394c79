"""What every scorer must do, on worlds with planted features and with judges of every mind.

A true explanation scores at least 0.95. A false one, one of another latent, one that says nothing, and a judge who
lies or guesses earn no more than chance and its interval. What was not answered is absent, with a reason, and counted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from worlds import CopyModel, OneHot, PlantedDictionary, Scripted, World, word_model

from monosema.interpretation.protocol import Explained
from monosema.interpretation.readers.language_model import LanguageModelReader
from monosema.interpretation.samples import Samples
from monosema.interpretation.scorers.detection import score_detection
from monosema.interpretation.scorers.embedding import score_embedding
from monosema.interpretation.scorers.fuzzing import score_fuzzing
from monosema.interpretation.scorers.intervention import InterventionConfig, score_intervention, write_continuations
from monosema.interpretation.scorers.intruder import IntruderConfig, score_intruder
from monosema.interpretation.scorers.scored import Scored, shuffled
from monosema.interpretation.scorers.simulation import SimulationConfig, score_simulation
from monosema.interpretation.scorers.surprisal import score_surprisal
from monosema.interpretation.scorers.texts import Texts
from monosema.models import AdaptedModel

Score = Callable[[World, Mapping[int, Explained], Scripted], Scored]


def surprisal(world: World, explained: Mapping[int, Explained], judge: Scripted) -> Scored:
    base = CopyModel(world.tokenizer)
    return score_surprisal(base, explained, Texts.of(world.samples, world.tests(), world.tokenizer))


def embedding(world: World, explained: Mapping[int, Explained], judge: Scripted) -> Scored:
    encoder = AdaptedModel(OneHot(world.tokenizer.vocab_size), "one-hot", world.tokenizer)
    return score_embedding(encoder, explained, Texts.of(world.samples, world.tests(), world.tokenizer))


@functools.cache
def continuations(world: World) -> Samples:
    model = word_model(world)
    beginnings = torch.tensor(world.samples.ids[:8, :2])
    config = InterventionConfig(kl=2.5, max_new_tokens=8)
    return write_continuations(
        world.latents, model, PlantedDictionary(world, model), "1.resid_post", beginnings, config
    )


def intervention(world: World, explained: Mapping[int, Explained], judge: Scripted) -> Scored:
    return score_intervention(LanguageModelReader(judge, world.tokenizer), explained, continuations(world))


def intruder(world: World, explained: Mapping[int, Explained], judge: Scripted) -> Scored:
    config = IntruderConfig(questions=20)
    return score_intruder(judge, world.samples, world.tests(), world.tokenizer, config)


def with_shuffled(score: Callable[[Mapping[int, Explained]], Scored], explained: Mapping[int, Explained]) -> Scored:
    """The figures, with those of shuffled explanations as controls."""
    scored, controls = score(explained), score(shuffled(explained))
    return replace(scored, controls={latent: one.value for latent, one in controls.estimates.items()})


def simulation(world: World, explained: Mapping[int, Explained], judge: Scripted) -> Scored:
    reader = LanguageModelReader(judge, world.tokenizer)
    # What an explanation says is that words activate, not how much: a scripted judge knows 0 and 10 only.
    samples = replace(world.samples, activations=np.sign(world.samples.activations))
    config = SimulationConfig(top=6, random=6)
    return with_shuffled(lambda said: score_simulation(reader, said, samples, config)[0], explained)


def detection(world: World, explained: Mapping[int, Explained], judge: Scripted) -> Scored:
    def figures(said: Mapping[int, Explained]) -> Scored:
        found = score_detection(LanguageModelReader(judge, world.tokenizer), said, world.samples)
        return Scored("detection", found.accuracy, {}, found.absent)

    return with_shuffled(figures, explained)


def fuzzing(world: World, explained: Mapping[int, Explained], judge: Scripted) -> Scored:
    def figures(said: Mapping[int, Explained]) -> Scored:
        found = score_fuzzing(LanguageModelReader(judge, world.tokenizer), said, world.samples)
        return Scored("fuzzing", found.accuracy, {}, found.absent)

    return with_shuffled(figures, explained)


READING: dict[str, Score] = {
    "simulation": simulation,
    "detection": detection,
    "fuzzing": fuzzing,
    "intervention": intervention,
}
OF_EXPLANATIONS: dict[str, Score] = {"surprisal": surprisal, "embedding": embedding, **READING}
ASKING: dict[str, Score] = {**READING, "intruder": intruder}
ALL = OF_EXPLANATIONS | ASKING
CHANCE = {"intruder": 1 / 5, "simulation": 0.0}


@pytest.fixture(scope="module")
def world() -> World:
    return World(latents=3, each=4)


CONSTANT = "the prediction is the same on all tokens"
"""Why a simulation that never predicts anything has no correlation."""


def at_chance(scored: Scored) -> bool:
    """Whether no figure is above chance by more than its interval; a constant prediction earns no figure at all."""
    assert scored.estimates or scored.failures.keys() == {CONSTANT}
    chance = CHANCE.get(scored.scorer, 0.5)
    return all(estimate.low <= chance for estimate in scored.estimates.values())


@pytest.mark.parametrize("name", ALL)
def test_a_true_explanation_scores(world: World, name: str) -> None:
    scored = ALL[name](world, world.oracle, Scripted())
    assert scored.scorer == name
    assert scored.estimates.keys() == set(world.latents)
    assert not scored.absent
    for estimate in scored.estimates.values():
        assert estimate.value >= 0.95
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n >= 10


@pytest.mark.parametrize("name", OF_EXPLANATIONS)
def test_a_false_explanation_does_not(world: World, name: str) -> None:
    assert at_chance(OF_EXPLANATIONS[name](world, world.wrong, Scripted()))


@pytest.mark.parametrize("name", OF_EXPLANATIONS)
def test_to_say_nothing_is_chance(world: World, name: str) -> None:
    scored = OF_EXPLANATIONS[name](world, world.empty, Scripted())
    if name == "simulation":
        # A constant has no correlation: that is said, and is no 0.
        assert scored.failures == {CONSTANT: len(world.latents)}
    else:
        assert [estimate.value for estimate in scored.estimates.values()] == pytest.approx([0.5] * len(world.latents))


@pytest.mark.parametrize("name", ALL)
def test_the_control_is_chance(world: World, name: str) -> None:
    scored = ALL[name](world, world.oracle, Scripted())
    # Where no shuffled explanation predicts anything, a simulation has no control.
    assert scored.controls.keys() == (set() if name == "simulation" else set(world.latents))
    assert max(scored.controls.values(), default=0.0) <= CHANCE.get(name, 0.5) + 0.1


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize("mind", ["liar", "random"])
def test_judges_who_lie_or_guess_earn_nothing(world: World, name: str, mind: str) -> None:
    scored = ASKING[name](world, world.oracle, Scripted(mind))
    # Of many guesses some are lucky: the mean is held against chance.
    assert np.mean([estimate.low for estimate in scored.estimates.values()]) <= CHANCE.get(name, 0.5)


@pytest.mark.parametrize("name", ASKING)
def test_what_was_refused_is_absent_and_counted(world: World, name: str) -> None:
    scored = ASKING[name](world, world.oracle, Scripted("refusal"))
    assert not scored.estimates
    assert scored.absent.keys() == set(world.latents)
    assert sum(scored.failures.values()) == len(world.latents)
    assert all("answer" in reason or "predicted" in reason for reason in scored.absent.values())
    partly = ASKING[name](world, world.oracle, Scripted("refusal", share=0.4))
    assert all(estimate.value >= 0.95 for estimate in partly.estimates.values())
    whole = ASKING[name](world, world.oracle, Scripted())
    assert sum(e.n for e in partly.estimates.values()) < sum(e.n for e in whole.estimates.values())


@pytest.mark.parametrize("name", ["surprisal", "embedding"])
def test_a_latent_without_inactive_passages_is_absent(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = world.tests()
    lonely = world.latents[0]
    samples = world.samples
    kept = entries[samples.active[entries] | (samples.latents[samples.row[entries]] != lonely)]
    monkeypatch.setattr(world, "tests", lambda: kept)
    scored = OF_EXPLANATIONS[name](world, world.oracle, Scripted())
    assert set(scored.absent) == {lonely}
    assert "no inactive passage" in scored.absent[lonely]
    assert np.isfinite([estimate.value for estimate in scored.estimates.values()]).all()
