"""The language-model explainer: what it is shown, and what becomes of its answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from worlds import Scripted, World

from monosema.interpretation.explainers.language_model import (
    LanguageModelExplainer,
    LanguageModelExplainerConfig,
    _request,
    _shown,
    _written,
    explanation_requests,
)
from monosema.interpretation.samples import Passage, Sample
from monosema.interpretation.wording import highlighted
from monosema.llm import Failure, Reply, Request
from monosema.llm.structured import checked

FORMS = ["activations", "highlighted"]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def explainer(world: World, client: object = None, **fields: object) -> LanguageModelExplainer:
    return LanguageModelExplainer(client or Scripted(), world.tokenizer, LanguageModelExplainerConfig(**fields))


class Says:
    """A model that says the same to all."""

    model = "says"

    def __init__(self, *replies: Reply) -> None:
        self.replies = replies

    def complete(self, requests: list[Request], progress: object = None) -> list[Reply]:
        return [checked(self.replies[n % len(self.replies)], request) for n, request in enumerate(requests)]


@pytest.mark.parametrize("form", FORMS)
def test_a_model_that_reads_what_it_is_shown_finds_the_planted_words(world: World, form: str) -> None:
    made = explainer(world, form=form)
    made_of = made.explain(world.samples)
    found = {latent: one.text for latent, one in made_of.items()}
    assert found.keys() == set(world.latents)
    for latent, text in found.items():
        words = set(text.removeprefix("the words ").split(", "))
        assert words == set(world.words[latent])
    assert made.stats.requests == len(world.latents)
    assert not made.stats.failures
    identity = ("scripted", f"language model ({form})", "scripted", "1")
    assert {one.identity for one in made_of.values()} == {identity}


@pytest.mark.parametrize("form", FORMS)
def test_no_passage_of_the_test_side_is_shown(world: World, form: str) -> None:
    config = LanguageModelExplainerConfig(form=form, top=50, quantiles=10, contrastive=99)
    for latent, request in explanation_requests(world.samples, world.tokenizer, config).items():
        text = request.messages[-1].content
        sample = world.samples.sample(latent, world.tokenizer)
        assert sum(_written(passage, sample.maximum, form) in text for passage in sample.train) > 20
        assert not any(_written(passage, sample.maximum, form) in text for passage in sample.test)


def test_it_sees_top_quantile_and_near_inactive_passages(world: World) -> None:
    sample = world.samples.sample(world.latents[0], world.tokenizer)
    active, inactive = _shown(sample, LanguageModelExplainerConfig(top=5, quantiles=5, contrastive=5))
    assert [passage.kind for passage in active].count("top") == 5
    assert {passage.kind for passage in active} == {"top", "q0", "q2", "q4", "q7", "q9"}
    assert len({passage.hash for passage in active}) == 10
    assert {passage.kind for passage in inactive} == {"inactive near decoder", "inactive near firing"}
    assert len(inactive) == 5


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(text="I am sorry, but I can't help with that."), "malformed"),
        (Reply(text='{"explanation": "cut off', finish="length"), "truncated"),
        (Reply(text='{"explanation": null}'), "no explanation found"),
        (Reply(text='{"explanation": "  "}'), "no explanation found"),
        (Reply(text='{"label": "other"}'), "malformed"),
        (Reply(failure=Failure(kind="refusal", detail="I can't help with that")), "refusal"),
        (Reply(failure=Failure(kind="cost cap", detail="too dear")), "cost cap"),
    ],
)
def test_failures_are_counted_and_are_no_explanations(world: World, reply: Reply, kind: str) -> None:
    good = Reply(text=json.dumps({"explanation": "words"}))
    made = explainer(world, Says(reply, good))
    assert [one.text for one in made.explain(world.samples).values()] == ["words", "words"]
    assert made.stats.failures == {kind: 2}
    assert made.stats.to_dict()["requests"] == 4


def test_signs_of_ours_in_a_passage_can_not_be_taken_for_ours() -> None:
    tokens = (" «", "a\tb", "\n", "\\", "»", " plain\t10")
    passage = Passage("top", (1, 2, 3, 4, 5, 6), tokens, (0.0, 0.0, 0.0, 1.0, 0.0, 0.0), 1)
    sample = Sample(0, 1.0, (passage,), ())
    for form in FORMS:
        request = _request(sample, LanguageModelExplainerConfig(form=form))
        text = request.messages[-1].content.partition("Passage 1:\n")[2]
        if form == "highlighted":
            assert text == r" \«a\tb\n«\\»\» plain\t10"
        else:
            values = [line.rpartition("\t")[2] for line in text.split("\n")]
            assert values == ["0", "0", "0", "10", "0", "0"]


def test_a_latent_that_is_never_active_is_not_asked_about(world: World) -> None:
    silent = World(latents=2, each=4)
    silent.samples.activations[:] = 0.0
    made = explainer(world)
    assert explanation_requests(silent.samples, silent.tokenizer, made.config) == {}
    assert made.explain(silent.samples) == {}
    assert highlighted(["a"], np.zeros(1, bool)) == "a"


def test_a_small_model_sees_excerpts_and_the_words_that_are_marked() -> None:
    tokens = tuple(f" w{place}" for place in range(40))
    strong = [0.0] * 40
    strong[20], strong[21], strong[23], strong[24] = 4.0, 3.0, 3.0, 1.0
    passage = Passage("top", tuple(range(40)), tokens, tuple(strong), 1)
    quiet = Passage("inactive", tuple(range(40)), tokens, (0.0,) * 40, 2)
    request = _request(Sample(0, 4.0, (passage, quiet), ()), LanguageModelExplainerConfig(form="brief"))
    text = " w10 w11 w12 w13 w14 w15 w16 w17 w18 w19« w20 w21» w22« w23» w24 w25"
    assert request.messages[-1].content == f'{text}\nWords: "w20 w21", "w23"'
    answers = [message.content for message in request.messages if message.role == "assistant"]
    assert all(isinstance(json.loads(answer)["explanation"], str) for answer in answers)
