"""Gradient methods: integrated gradients sum to the difference, and each equals its slow twin."""

from __future__ import annotations

import pytest
import torch

from monosema.attribution import Game, Question, attribute, heads_of, tokens_of
from monosema.attribution.methods import IntegratedGradients, SmoothGrad
from monosema.core import UnsupportedModelError
from monosema.models import LanguageModel, Transformer


@pytest.mark.parametrize("units", ["words", "heads"])
def test_integrated_gradients_sum_to_the_difference(model: LanguageModel, question: Question, units: str) -> None:
    players = heads_of(model, question) if units == "heads" else tokens_of(model, question, units)
    found = attribute(Game(model, question, players), "integrated_gradients")
    assert found.gap is not None
    assert abs(found.gap) < 0.01 * abs(found.total)
    assert found.rows == 150
    few = attribute(Game(model, question, players), IntegratedGradients(steps=2))
    assert few.gap is not None
    assert abs(few.gap) > abs(found.gap)


def test_gradients_are_those_of_the_embeddings(model: LanguageModel, question: Question) -> None:
    ids = torch.tensor([question.ids])
    with model.capture("embed", gradients=True) as got:
        value = question.target.value(model(ids))
        (slope,) = torch.autograd.grad(value.sum(), got["embed"])
    x = got["embed"].detach()
    game = Game(model, question, tokens_of(model, question, removal="zero"))
    times = attribute(game, "gradient_input").scores
    torch.testing.assert_close(times, (slope * x)[0, 1:].sum(-1), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(attribute(game, "gradient").scores, slope[0, 1:].norm(dim=-1), atol=1e-4, rtol=1e-3)


def test_without_noise_smooth_grad_is_gradient_times_input(model: LanguageModel, question: Question) -> None:
    game = Game(model, question, tokens_of(model, question, "words"))
    smooth = attribute(game, SmoothGrad(draws=2, noise=0.0))
    torch.testing.assert_close(smooth.scores, attribute(game, "gradient_input").scores, atol=1e-4, rtol=1e-3)
    assert smooth.errors is not None
    assert attribute(game, "smooth_grad").errors is not None


def test_what_has_no_gradient_is_said(model: LanguageModel, question: Question) -> None:
    with pytest.raises(UnsupportedModelError, match="among tokens only"):
        attribute(Game(model, question, heads_of(model, question)), "gradient")
    with pytest.raises(UnsupportedModelError, match="a mask puts none there"):
        attribute(Game(model, question, tokens_of(model, question, removal="mask")), "smooth_grad")


@pytest.mark.parametrize("name", ["gradient", "gradient_input", "deep_lift", "attn_lrp", "z_plus"])
def test_blocks_that_are_computed_again_change_nothing(model: Transformer, question: Question, name: str) -> None:
    players = tokens_of(model, question)
    whole, little = Game(model, question, players), Game(model, question, players, memory_mb=0.01)
    expected = attribute(whole, name)
    with little.within_memory():
        assert "forward" in vars(model.blocks[0])
    found = attribute(little, name)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=1e-3)
    assert "forward" not in vars(model.blocks[0])
