"""Simulation, detection and fuzzing of rules on worlds with planted features: truth, error, and their controls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import World, said

from monosema.interpretation import RulePredictor, ScoringConfig, ScoringSession, atlas_scores
from monosema.interpretation.protocol import BASELINE
from monosema.interpretation.rules import TokenLookup
from monosema.interpretation.samples import KINDS
from monosema.interpretation.scorers.classification import (
    Answers,
    Detection,
    FuzzingConfig,
    classify,
    fuzzing_questions,
)
from monosema.interpretation.scorers.simulation import Simulation, SimulationConfig
from monosema.interpretation.scores import area_under_curve, joined, table_rows
from monosema.interpretation.scoring import balanced_entries

SCORERS = ScoringConfig().make()
OWN = ["simulation", "simulation (top)", "simulation (random)", "detection", "fuzzing"]


def score(explanations, samples, predictor=None, scorers=SCORERS):
    """Tables by metric."""
    session = ScoringSession(samples, predictor=predictor or RulePredictor())
    return {table.scorer: table for table in session.scores(explanations, scorers)}


@pytest.fixture(scope="module")
def world():
    """Worlds vary in strength by kind; here all activations are 1, so that a rule can be right about them."""
    made = World(latents=4, each=12)
    made.samples = replace(made.samples, activations=np.minimum(made.samples.activations, 1.0))
    return made


def lookup(weights, threshold=0.0):
    return said("a rule", TokenLookup(weights, threshold).to_json())


def words(world, latent):
    ids = world.tokenizer.encode(" ".join(world.words[latent]))
    return lookup(dict.fromkeys(ids, 1.0), 0.5)


@pytest.fixture(scope="module")
def oracle(world):
    return {latent: words(world, latent) for latent in world.latents}


@pytest.fixture(scope="module")
def wrong(world):
    return {latent: words(world, world.other(latent)) for latent in world.latents}


def test_an_oracle_scores(world, oracle):
    tables = score(oracle, world.samples)
    assert [name for name, one in tables.items() if one.part != "detail"] == OWN
    for name in OWN:
        one = tables[name]
        assert one.estimates.keys() == set(world.latents)
        assert min(estimate.value for estimate in one.estimates.values()) >= 0.95
        assert one.above() == world.latents
        assert all(control <= one.chance + 0.1 for control in one.controls.values())
        assert one.row("it", 4)["above"]["value"] == 1.0
    details = [one for one in tables.values() if one.part == "detail"]
    assert all(estimate.value >= 0.95 for of in details for estimate in of.estimates.values())
    assert set(table_rows("it", list(tables.values()), 4)[3]["details"]) == {"F1", "precision", "recall", "AUC"}


def test_a_wrong_rule_is_at_chance(world, wrong):
    tables = score(wrong, world.samples)
    for one in (tables[name] for name in OWN):
        assert all(estimate.low <= one.chance for estimate in one.estimates.values())
        assert not one.above()


def test_the_empty_answer(world):
    tables = score(dict.fromkeys(world.latents, BASELINE), world.samples)
    for name in OWN[:3]:
        assert not tables[name].estimates
        assert set(tables[name].absent.values()) == {"the prediction is the same on all tokens"}
        assert "mean" not in tables[name].row("nothing", 4)
    for name in OWN[3:]:
        assert {estimate.value for estimate in tables[name].estimates.values()} == {0.5}
        assert not tables[name].controls


def test_simulation_is_pearson_over_all_tokens_together(world, wrong):
    """Against numpy on the same passages."""
    samples = world.samples
    config = SimulationConfig(top=100, random=0, minimum=1)
    noise = lookup({token: float(token % 7) for token in range(1, 101)})
    noisy = dict.fromkeys(world.latents, noise)
    tables = score(noisy, samples, scorers=[Simulation(config)])
    scored = tables["simulation"]
    assert set(tables["simulation (random)"].absent) == set(world.latents)
    for latent in world.latents:
        entries = samples.entries(latent)
        entries = entries[samples.test[entries] & (samples.kind[entries] == KINDS.index("top"))]
        predicted = RulePredictor().activations(noisy, samples, entries)
        own = samples.activations[entries]
        assert scored.estimates[latent].value == pytest.approx(np.corrcoef(predicted.ravel(), own.ravel())[0, 1])
        assert scored.estimates[latent].n == len(entries)
        assert scored.estimates[latent].low < scored.estimates[latent].value < scored.estimates[latent].high


def test_rare_latents_are_skipped_and_counted(world, oracle):
    scored = score(oracle, world.samples, scorers=[Simulation(SimulationConfig(minimum=10_000))])["simulation"]
    assert set(scored.absent.values()) == {"fewer than 10000 activating passages"}
    assert len(scored.absent) == 4


def test_what_was_not_answered_is_left_out(world, oracle):
    class Forgetful(RulePredictor):
        def activations(self, explained, samples, entries):
            predicted = super().activations(explained, samples, entries)
            predicted[samples.latents[samples.row[entries]] == 0, 0] = np.nan
            return predicted

        def active(self, explained, samples, entries):
            likely = super().active(explained, samples, entries)
            return np.where(samples.latents[samples.row[entries]] == 0, np.nan, likely).astype(np.float32)

    tables = score(oracle, world.samples, Forgetful())
    assert tables["simulation"].absent == {0: "no passage was predicted"}
    assert "fewer than" in tables["detection"].absent[0]
    assert not tables["fuzzing"].absent


def test_passages_that_are_asked_about(world):
    samples = world.samples
    entries = balanced_entries(samples, 16)
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
    tables = classify(Detection.info, Answers(latent, truth, said), np.arange(0, 18, 3), 5)
    accuracy, details = tables[0], {one.scorer.removeprefix("detection "): one.estimates for one in tables}
    assert accuracy.absent == {15: "no passages"}
    for one in range(0, 15, 3):
        mine = (latent == one) & ~np.isnan(said)
        assert details["AUC"][one].value == pytest.approx(area_under_curve(said[mine], truth[mine]).value)
        yes = said[mine] > 0.5
        rates = yes[truth[mine]].mean(), 1 - yes[~truth[mine]].mean()
        assert accuracy.estimates[one].value == pytest.approx(np.mean(rates))
        right = (yes & truth[mine]).sum()
        shares = {"F1": 2 * right / (yes.sum() + truth[mine].sum()), "precision": right / yes.sum(), "recall": rates[0]}
        assert {name: details[name][one].value for name in shares} == pytest.approx(shares)
        assert accuracy.estimates[one].n == mine.sum()


def test_parts_are_put_together(world, oracle):
    halves = [{latent: oracle[latent] for latent in part} for part in (world.latents[:2], world.latents[2:])]
    whole = joined([list(score(half, world.samples).values()) for half in halves])
    assert all(one.estimates.keys() == set(world.latents) for one in whole if one.part != "detail")
    kept = atlas_scores(whole, oracle, details=False)
    assert [one.scorer for one in kept[world.latents[0]]] == OWN
    assert kept[world.latents[0]][0].rank == 10
    assert table_rows("it", whole, 6)[0]["absent"] == {"no explanation": 2}


def test_a_shuffled_explanation_says_something_else_where_any_does() -> None:
    from monosema.atlas import Explanation
    from monosema.interpretation.scores import shuffled

    texts = ["seven"] * 6 + ["eight", "nine"]
    given = {latent: Explanation("m", "columns", None, None, text) for latent, text in enumerate(texts)}
    for seed in range(5):
        assert all(one.text != given[latent].text for latent, one in shuffled(given, seed).items())
    same = dict.fromkeys(range(3), given[0])
    assert shuffled(same) == same
