"""A prompt is shown as the model reads it, and what taking features out does is what an edit by hand does."""

from __future__ import annotations

import pytest
import torch

from monosema.core import InputError, Site
from monosema.dictionaries import SparseCoder, at_sites, dictionary_config, make_coder
from monosema.models import Transformer, random_model
from monosema.server.reading import DictionaryReading, PromptReading, Question

SITE = Site.parse("0.resid_post")


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


@pytest.fixture(scope="module")
def dictionary(model: Transformer) -> SparseCoder:
    made = make_coder("topk", model.d_model, 4 * model.d_model, k=5, seed=0)
    made.metadata = made.metadata.replace(site=SITE)
    return made


@pytest.fixture(scope="module")
def reading(model: Transformer) -> PromptReading:
    return PromptReading(model, "a cat sat")


@pytest.fixture(scope="module")
def codes(reading: PromptReading, dictionary: SparseCoder) -> DictionaryReading:
    return DictionaryReading(reading, dictionary)


def test_tokens_are_the_models_own(model: Transformer, reading: PromptReading) -> None:
    tokens = reading.tokens_read(top=3)
    assert [token.id for token in tokens] == model.tokenizer.encode("a cat sat")
    assert [token.role for token in tokens] == ["special"] + ["prompt"] * 9
    assert "".join(token.token for token in tokens[1:]) == "a cat sat"


def test_surprise_entropy_and_next_tokens_are_those_of_the_logits(model: Transformer, reading: PromptReading) -> None:
    after = model(reading.tokens)[0].float().log_softmax(-1)
    tokens = reading.tokens_read(top=3)
    assert tokens[0].surprise is None
    assert tokens[4].surprise == pytest.approx(-float(after[3, tokens[4].id]), rel=1e-4)
    assert tokens[4].entropy == pytest.approx(float(-(after[4].exp() * after[4]).sum()), rel=1e-4)
    best = after[4].topk(3)
    assert [one.id for one in tokens[4].next] == best.indices.tolist()
    assert [one.probability for one in tokens[4].next] == pytest.approx(best.values.exp().tolist(), rel=1e-4)


@pytest.mark.parametrize(("prompt", "said"), [([], "no tokens"), ("a" * 40, "41 tokens, and 16 can be shown")])
def test_a_prompt_that_cannot_be_shown_says_why(model: Transformer, prompt: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        PromptReading(model, prompt, limit=16)  # type: ignore[arg-type]


def test_special_tokens_have_no_features_and_others_have_them_by_strength(codes: DictionaryReading) -> None:
    assert codes.active(0) == []
    values = [one.value for one in codes.active(3)]
    assert len(values) == 5
    assert values == sorted(values, reverse=True)


def test_taking_a_feature_out_is_what_an_edit_by_hand_does(
    model: Transformer, dictionary: SparseCoder, reading: PromptReading, codes: DictionaryReading
) -> None:
    question = Question.about(reading)
    feature = codes.with_effects(4, question)[1]

    def without(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[0, 4] -= feature.value * dictionary.directions[feature.latent]
        return x

    with torch.inference_mode(), model.edit(SITE, without):
        edited = model(reading.tokens)[0]
    effect = question.value(reading.logits[-1]) - question.value(edited[-1])
    before, after = reading.logits[4].log_softmax(-1), edited[4].log_softmax(-1)
    assert feature.effect == pytest.approx(float(effect), abs=1e-4)
    assert feature.kl == pytest.approx(float((before.exp() * (before - after)).sum()), abs=1e-4)
    assert abs(float(effect)) > 1e-3


def test_losses_without_a_latent_differ_after_the_tokens_it_is_active_on(codes: DictionaryReading) -> None:
    latent = codes.active(5)[0].latent
    clean, without = codes.losses_without(latent)
    first = min(at for at in range(10) if codes.part(at, latent) > 0)
    assert torch.allclose(clean[:first], without[:first], atol=1e-5)
    assert not torch.allclose(clean[first:], without[first:], atol=1e-4)


def test_a_transcoders_features_are_taken_out_where_it_writes(model: Transformer, reading: PromptReading) -> None:
    made = dictionary_config("transcoder", n_latents=32, k=5).make([model.d_model, model.d_model])
    made.metadata = at_sites(made.metadata, [Site.parse("0.mlp_in"), Site.parse("0.mlp_out")], transcodes=True)
    codes = DictionaryReading(reading, made)
    assert codes.site == Site.parse("0.mlp_out")
    feature = codes.with_effects(3)[0]
    assert feature.kl is not None
    assert feature.effect is None


def test_a_question_fills_in_the_last_position_its_likeliest_token_and_the_runner_up(reading: PromptReading) -> None:
    question, best = Question.about(reading), reading.logits[-1].topk(2).indices.tolist()
    assert (question.position, question.target, question.foil) == (9, *best)
    assert Question.about(reading, target=best[1]).foil == best[0]
    assert Question.about(reading, foil=None).foil is None


def test_wrong_questions_say_what_there_is(reading: PromptReading) -> None:
    with pytest.raises(InputError, match="no position 10: the prompt has 10 tokens"):
        Question.about(reading, 10)
    with pytest.raises(InputError, match="no token 9999"):
        Question.about(reading, target=9999)
    with pytest.raises(InputError, match="are the same"):
        Question.about(reading, target=5, foil=5)
