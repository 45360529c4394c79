"""Methods that say why a token came: the exact one is what happens, estimates are near it where that can be known."""

from __future__ import annotations

import pytest
import torch

from monosema.core import InputError, Site, UnsupportedModelError
from monosema.dictionaries import SparseCoder, make_coder
from monosema.models import Transformer, random_model
from monosema.server import why
from monosema.server.reading import DictionaryReading, PromptReading, Question
from monosema.server.why import Answer, Method, answers, register_method


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


def read_at(model: Transformer, site: str, scale: float = 1.0) -> tuple[DictionaryReading, Question]:
    """A prompt's codes by a random dictionary, whose directions are scaled."""
    made: SparseCoder = make_coder("topk", model.d_model, 64, k=4, seed=1)
    with torch.no_grad():
        made.W_dec.mul_(scale)
    made.metadata = made.metadata.replace(site=Site.parse(site))
    reading = PromptReading(model, "a cat sat")
    return DictionaryReading(reading, made), Question.about(reading)


def answer_of(name: str, read: DictionaryReading, question: Question) -> Answer:
    (answer,) = answers(read, question, [name], most=64)
    assert isinstance(answer, Answer)
    return answer


def test_ablation_scores_are_what_the_model_does_without_the_feature(model: Transformer) -> None:
    read, question = read_at(model, "0.resid_post")
    answer = answer_of("ablation", read, question)
    one = answer.features[0]
    (effect,) = read.effects([[(one.position, one.latent)]], question)
    assert one.score == pytest.approx(effect, abs=1e-5)
    assert answer.value == pytest.approx(float(question.value(read.reading.logits[-1])), abs=1e-4)
    assert answer.control is not None
    assert answer.control > 0
    assert answer.tokens[0] == 0


def test_of_an_earlier_position_later_tokens_have_no_part(model: Transformer) -> None:
    read, _ = read_at(model, "0.resid_post")
    question = Question.about(read.reading, position=4)
    for name in ("gradient", "ablation"):
        answer = answer_of(name, read, question)
        assert all(score == 0 for score in answer.tokens[5:])
        assert all(one.position <= 4 for one in answer.features)


def test_for_small_parts_the_gradient_gives_what_ablation_gives(model: Transformer) -> None:
    read, question = read_at(model, "0.resid_post", scale=1e-2)
    exact = {(one.latent, one.position): one.score for one in answer_of("ablation", read, question).features}
    estimates = {(one.latent, one.position): one.score for one in answer_of("gradient", read, question).features}
    strongest = max(estimates, key=lambda key: abs(estimates[key]))
    assert estimates[strongest] == pytest.approx(exact[strongest], rel=0.05)


def test_after_the_last_block_the_direct_effect_is_the_logit_difference_that_a_part_makes(model: Transformer) -> None:
    read, question = read_at(model, f"{model.n_layers - 1}.resid_post")
    answer, at = answer_of("direct", read, question), question.position
    last = Site.parse(f"{model.n_layers - 1}.resid_post")
    stream = model.activations(read.reading.tokens, [last])[last][0, at].float()
    # At the norm's own scale the logits are linear in the stream: the part of a latent is its share of them.
    scale = float(stream.pow(2).mean().sqrt())
    for share in answer.features:
        weights = model.unembed(read.directions[share.latent][None])[0] / scale
        expected = share.value * float(weights[question.target] - weights[question.foil or 0])
        assert share.position == at
        assert share.score == pytest.approx(expected, rel=1e-2, abs=1e-5)
    assert sum(answer.tokens) == pytest.approx(sum(one.score for one in answer.features), rel=1e-4)


def test_parts_and_what_the_reconstruction_leaves_make_up_the_value(model: Transformer) -> None:
    read, question = read_at(model, "0.resid_post")
    answer = answer_of("direct", read, question)
    assert answer.whole is not None
    assert answer.n == len(answer.features) == 4
    assert answer.whole == pytest.approx(sum(one.score for one in answer.features), rel=1e-4)
    assert answer.whole + sum(answer.rest.values()) == pytest.approx(answer.value, abs=1e-4)
    last, question = read_at(model, f"{model.n_layers - 1}.resid_post")
    assert answer_of("direct", last, question).rest["other layers"] == pytest.approx(0, abs=0.05)


def test_all_features_at_once_are_not_the_sum_of_each(model: Transformer) -> None:
    read, question = read_at(model, "0.resid_post")
    every = [(at, int(one)) for at in range(len(read.reading.ids)) for one in read.latents[at, read.values[at] > 0]]
    answer = answer_of("ablation", read, question)
    assert answer.whole is None
    assert answer.rest["all features at once"] == pytest.approx(read.effects([every], question)[0], abs=1e-5)


def test_a_site_off_the_stream_gives_the_reason_and_the_other_methods_answer(model: Transformer) -> None:
    made = make_coder("topk", model.site_width("0.mlp.post"), 64, k=4, seed=1)
    made.metadata = made.metadata.replace(site=Site.parse("0.mlp.post"))
    reading = PromptReading(model, "a cat sat")
    read, question = DictionaryReading(reading, made), Question.about(reading)
    given = list(answers(read, question))
    assert given[0] == (
        "direct",
        "0.mlp.post does not write into the residual stream, so its features have no direct effect.",
    )
    assert [one.method for one in given[1:] if isinstance(one, Answer)] == ["gradient", "ablation"]


def test_a_method_registered_from_outside_is_asked(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why, "METHODS", dict(why.METHODS))
    read, question = read_at(model, "0.resid_post")

    def refuse(*_: object) -> Answer:
        raise UnsupportedModelError("not here")

    register_method(Method("mine", "Mine", "About it.", refuse))
    assert list(answers(read, question, ["mine"])) == [("mine", "not here")]
    with pytest.raises(InputError, match=r"no method 'yours'.*mine"):
        list(answers(read, question, ["yours"]))
