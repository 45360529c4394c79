"""A scorer and an explainer from outside the package: one line registers each, and all places know it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from worlds import World

from monosema.atlas import Explanation
from monosema.cli import main
from monosema.core import ConfigError, wilson
from monosema.interpretation import (
    EXPLAINERS,
    SCORERS,
    ExplainConfig,
    ScoreOptions,
    ScorerInfo,
    ScoringConfig,
    ScoringSession,
    register_explainer,
    register_scorer,
)


class Brevity:
    info = ScorerInfo("brevity", "is the explanation short?", chance=0.5, unit="short words", scores_rules=True)

    def score(self, explanations, session):
        words = {latent: one.text.split() for latent, one in explanations.items()}
        short = {n: wilson(sum(len(word) < 6 for word in some), len(some)) for n, some in words.items() if some}
        return [self.info.table(short, {n: "there is no text" for n, some in words.items() if not some})]


class Loudest:
    """Names the strongest token of the train split."""

    def explain(self, samples):
        return {
            latent: Explanation("me", "loudest", None, None, f"latent {latent}") for latent in samples.latents.tolist()
        }


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register_scorer(Brevity)
    register_explainer("loudest", lambda subject, config: Loudest())
    yield
    del SCORERS["brevity"], EXPLAINERS["loudest"]


def test_a_registered_scorer_scores_with_controls_in_every_place(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(latents=2, each=4)
    config = ScoringConfig(scorers=("detection", "brevity"))
    session = ScoringSession(world.samples)
    (table,) = session.scores(world.oracle, config.make()[1:])
    assert (table.scorer, table.chance, table.unit) == ("brevity", 0.5, "short words")
    assert table.controls.keys() == table.estimates.keys() == set(world.latents)
    assert session.scores(world.empty, config.make()[1:])[0].failures == {"there is no text": 2}
    assert ScoreOptions(["brevity"]).asking == []
    assert main(["score", "anywhere", "--scorers", "list", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)["scorers"]}
    assert listed["brevity"]["title"] == "is the explanation short?"


def test_a_registered_explainer_explains() -> None:
    world = World(latents=2, each=4)
    (name,) = ExplainConfig(methods=("loudest",)).methods
    found = EXPLAINERS[name](None, ExplainConfig()).explain(world.samples)
    assert {one.text for one in found.values()} == {f"latent {latent}" for latent in world.latents}


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"brevety.*Did you mean 'brevity'"):
        ScoreOptions(["brevety"])
    with pytest.raises(ConfigError, match="can't score rules"):
        ScoringConfig(scorers=("intruder",))
    with pytest.raises(ConfigError, match=r"loudes.*Did you mean 'loudest'"):
        ExplainConfig(methods=("loudes",))
