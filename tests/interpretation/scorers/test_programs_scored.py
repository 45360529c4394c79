"""Simulation, detection and fuzzing of programs on worlds with planted features: truth, error, and their controls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import World

from monosema.interpretation.programs import TokenLookup
from monosema.interpretation.protocol import Explained
from monosema.interpretation.readers.programs import ProgramReader
from monosema.interpretation.samples import KINDS
from monosema.interpretation.scorers.classification import Answers, classify
from monosema.interpretation.scorers.detection import DetectionConfig, detection_entries
from monosema.interpretation.scorers.fuzzing import FuzzingConfig, fuzzing_questions
from monosema.interpretation.scorers.scored import area_under_curve
from monosema.interpretation.scorers.simulation import SimulationConfig, score_simulation
from monosema.interpretation.scoring import CHANCE, above, atlas_scores, merged, score, table_row


@pytest.fixture(scope="module")
def world():
    """Worlds vary in strength by kind; here all activations are 1, so that a program can be right about them."""
    made = World(latents=4, each=12)
    made.samples = replace(made.samples, activations=np.minimum(made.samples.activations, 1.0))
    return made


def lookup(world, latent, of):
    ids = world.tokenizer.encode(" ".join(world.words[of]))
    return Explained(latent, "", TokenLookup(dict.fromkeys(ids, 1.0), 0.5))


@pytest.fixture(scope="module")
def oracle(world):
    return {latent: lookup(world, latent, latent) for latent in world.latents}


@pytest.fixture(scope="module")
def wrong(world):
    return {latent: lookup(world, latent, world.other(latent)) for latent in world.latents}


@pytest.fixture(scope="module")
def empty(world):
    return {latent: Explained(latent, "", TokenLookup({})) for latent in world.latents}


def test_an_oracle_scores(world, oracle):
    scores = score(ProgramReader(), oracle, world.samples)
    assert [one.scorer for one in scores.figures] == list(CHANCE)
    for one in scores.figures:
        assert one.estimates.keys() == set(world.latents)
        assert min(figure.value for figure in one.estimates.values()) >= 0.95
        assert above(one) == world.latents
        assert all(control <= CHANCE[one.scorer] + 0.1 for control in one.controls.values())
        assert table_row("it", one, scores.details, 4).above.value == 1.0
    assert all(one.value >= 0.95 for of in scores.details.values() for one in of.values()), scores.details


def test_a_wrong_program_is_at_chance(world, wrong):
    for one in score(ProgramReader(), wrong, world.samples).figures:
        assert all(figure.low <= CHANCE[one.scorer] for figure in one.estimates.values())
        assert not above(one)


def test_the_empty_answer(world, empty):
    simulation, top, random, detection, fuzzing = score(ProgramReader(), empty, world.samples).figures
    for one in (simulation, top, random):
        assert not one.estimates
        assert set(one.absent.values()) == {"the prediction is the same on all tokens"}
        row = table_row("nothing", one, {}, 4)
        assert row.mean is None
        assert "mean" not in row.to_dict()
    for one in (detection, fuzzing):
        assert {figure.value for figure in one.estimates.values()} == {0.5}


def test_simulation_is_pearson_over_all_tokens_together(world, wrong):
    """Against numpy on the same passages."""
    samples = world.samples
    config = SimulationConfig(top=100, random=0, minimum=1)
    noisy = {
        latent: Explained(latent, "", TokenLookup({token: float(token % 7) for token in range(1, 101)}))
        for latent in world.latents
    }
    (scored, _, random) = score_simulation(ProgramReader(), noisy, samples, config)
    assert set(random.absent) == set(world.latents)
    for latent in world.latents:
        entries = samples.entries(latent)
        entries = entries[samples.test[entries] & (samples.kind[entries] == KINDS.index("top"))]
        predicted = ProgramReader().activations(noisy, samples, entries)
        own = samples.activations[entries]
        assert scored.estimates[latent].value == pytest.approx(np.corrcoef(predicted.ravel(), own.ravel())[0, 1])
        assert scored.estimates[latent].n == len(entries)
        assert scored.estimates[latent].low < scored.estimates[latent].value < scored.estimates[latent].high


def test_rare_latents_are_skipped_and_counted(world, oracle):
    (scored, _, _) = score_simulation(ProgramReader(), oracle, world.samples, SimulationConfig(minimum=10_000))
    assert set(scored.absent.values()) == {"fewer than 10000 activating passages"}
    assert len(scored.absent) == 4


def test_what_was_not_answered_is_left_out(world, oracle):
    class Forgetful(ProgramReader):
        def activations(self, explained, samples, entries):
            predicted = super().activations(explained, samples, entries)
            predicted[samples.latents[samples.row[entries]] == 0, 0] = np.nan
            return predicted

        def active(self, explained, samples, entries):
            likely = super().active(explained, samples, entries)
            return np.where(samples.latents[samples.row[entries]] == 0, np.nan, likely).astype(np.float32)

    simulation, *_, detection, fuzzing = score(Forgetful(), oracle, world.samples).figures
    assert simulation.absent == {0: "no passage was predicted"}
    assert "fewer than" in detection.absent[0]
    assert not fuzzing.absent


def test_passages_that_are_asked_about(world):
    samples = world.samples
    entries = detection_entries(samples, DetectionConfig(passages=16))
    kinds = np.bincount(samples.kind[entries], minlength=len(KINDS)) / 4
    assert kinds[KINDS.index("inactive") :].tolist() == [4, 2, 2]
    assert kinds[: KINDS.index("inactive")].sum() == 8
    assert samples.test[entries].all()
    entries, marks, truth = fuzzing_questions(samples, FuzzingConfig())
    active = samples.activations[entries] > 0
    assert (marks.sum(axis=1) == active.sum(axis=1)).all()
    assert ((marks & active).sum(axis=1)[~truth] == 0).all()
    assert (marks[truth] == active[truth]).all()
    assert abs(truth.mean() - 0.5) < 0.05


def test_area_and_accuracy_beside_slow_twins():
    draw = np.random.default_rng(0)
    latent = draw.integers(0, 5, 400) * 3
    truth = draw.random(400) < 0.4
    said = np.round(np.clip(0.3 * truth + draw.random(400) * 0.7, 0, 1), 1)
    said[draw.random(400) < 0.1] = np.nan
    found = classify(Answers(latent, truth, said), np.arange(0, 18, 3), 5)
    assert found.absent == {15: "no passages"}
    for one in range(0, 15, 3):
        mine = (latent == one) & ~np.isnan(said)
        assert found.details["AUC"][one].value == pytest.approx(area_under_curve(said[mine], truth[mine]).value)
        yes = said[mine] > 0.5
        rates = yes[truth[mine]].mean(), 1 - yes[~truth[mine]].mean()
        assert found.accuracy[one].value == pytest.approx(np.mean(rates))
        right = (yes & truth[mine]).sum()
        shares = {"F1": 2 * right / (yes.sum() + truth[mine].sum()), "precision": right / yes.sum(), "recall": rates[0]}
        assert {name: found.details[name][one].value for name in shares} == pytest.approx(shares)
        assert found.accuracy[one].n == mine.sum()


def test_certain_answers_keep_an_interval():
    """Twenty right answers of twenty do not make a point."""
    truth = np.arange(40) % 2 == 0
    found = classify(Answers(np.zeros(40, int), truth, truth * 1.0), np.arange(1), 5)
    assert found.accuracy[0].value == 1.0
    assert 0.8 < found.accuracy[0].low < 0.95


def test_parts_are_put_together(world, oracle):
    halves = [{latent: oracle[latent] for latent in part} for part in (world.latents[:2], world.latents[2:])]
    whole = merged([score(ProgramReader(), half, world.samples) for half in halves])
    assert all(one.estimates.keys() == set(world.latents) for one in whole.figures)
    kept = atlas_scores(whole, "monosema", "it")
    assert {one.scorer for one in kept[world.latents[0]]} == set(CHANCE)
    assert table_row("it", whole.figures[0], whole.details, 6).absent == {"no explanation": 2}
