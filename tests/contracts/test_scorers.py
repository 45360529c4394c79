"""What every scorer must do, on worlds with planted features and with judges of every mind.

A true explanation scores at least 0.95. A false one, one of another latent, one that says nothing, and a judge who
lies or guesses earn no more than chance and its interval. What was not answered is absent, with a reason, and counted.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "interpretation"))

from worlds import CopyModel, OneHot, PlantedDictionary, Scripted, World, word_model

from monosema.interpretation.protocol import Explained
from monosema.interpretation.readers.language_model import LanguageModelReader
from monosema.interpretation.samples import Samples
from monosema.interpretation.scorers.embedding import score_embedding
from monosema.interpretation.scorers.intervention import InterventionConfig, score_intervention, write_continuations
from monosema.interpretation.scorers.intruder import IntruderConfig, score_intruder
from monosema.interpretation.scorers.scored import Scored
from monosema.interpretation.scorers.surprisal import score_surprisal
from monosema.models import AdaptedModel

Score = Callable[[World, Mapping[int, Explained], Scripted], Scored]


def surprisal(world: World, explained: Mapping[int, Explained], judge: Scripted) -> Scored:
    base = CopyModel(world.tokenizer)
    return score_surprisal(base, explained, world.samples, world.tests(), world.tokenizer)


def embedding(world: World, explained: Mapping[int, Explained], judge: Scripted) -> Scored:
    encoder = AdaptedModel(OneHot(world.tokenizer.vocab_size), "one-hot", world.tokenizer)
    return score_embedding(encoder, explained, world.samples, world.tests(), world.tokenizer)


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


OF_EXPLANATIONS: dict[str, Score] = {"surprisal": surprisal, "embedding": embedding, "intervention": intervention}
ASKING: dict[str, Score] = {"intervention": intervention, "intruder": intruder}
ALL = OF_EXPLANATIONS | ASKING
CHANCE = {"intruder": 1 / 5}


@pytest.fixture(scope="module")
def world() -> World:
    return World(latents=3, each=4)


def at_chance(scored: Scored) -> bool:
    """Whether no figure is above chance by more than its interval."""
    assert scored.estimates
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
        assert estimate.n > 10


@pytest.mark.parametrize("name", OF_EXPLANATIONS)
def test_a_false_explanation_does_not(world: World, name: str) -> None:
    assert at_chance(OF_EXPLANATIONS[name](world, world.wrong, Scripted()))


@pytest.mark.parametrize("name", OF_EXPLANATIONS)
def test_to_say_nothing_is_chance(world: World, name: str) -> None:
    scored = OF_EXPLANATIONS[name](world, world.empty, Scripted())
    assert [estimate.value for estimate in scored.estimates.values()] == pytest.approx([0.5] * len(world.latents))


@pytest.mark.parametrize("name", ALL)
def test_the_control_is_chance(world: World, name: str) -> None:
    scored = ALL[name](world, world.oracle, Scripted())
    assert scored.controls.keys() == set(world.latents)
    assert max(scored.controls.values()) <= CHANCE.get(name, 0.5) + 0.1


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize("mind", ["liar", "random"])
def test_judges_who_lie_or_guess_earn_nothing(world: World, name: str, mind: str) -> None:
    assert at_chance(ASKING[name](world, world.oracle, Scripted(mind)))


@pytest.mark.parametrize("name", ASKING)
def test_what_was_refused_is_absent_and_counted(world: World, name: str) -> None:
    scored = ASKING[name](world, world.oracle, Scripted("refusal"))
    assert not scored.estimates
    assert scored.absent.keys() == set(world.latents)
    assert sum(scored.failures.values()) == len(world.latents)
    assert all("answered" in reason for reason in scored.absent.values())
    partly = ASKING[name](world, world.oracle, Scripted("refusal", share=0.3))
    assert all(estimate.value >= 0.95 for estimate in partly.estimates.values())
    whole = ASKING[name](world, world.oracle, Scripted())
    assert sum(e.n for e in partly.estimates.values()) < sum(e.n for e in whole.estimates.values())


@pytest.mark.parametrize("name", [name for name in OF_EXPLANATIONS if name != "intervention"])
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
