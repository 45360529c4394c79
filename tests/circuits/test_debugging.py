"""A feature that makes an answer wrong is found, and what is taken out is exactly that feature."""

from __future__ import annotations

import pytest
import torch

from monosema.circuits.debugging import debug
from monosema.core import InputError
from monosema.dictionaries import Neurons
from monosema.models import Transformer, random_model

TEXT, RIGHT, WRONG = "some words", "x", "y"


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model(seed=2)


def test_what_is_measured_is_the_model_without_that_feature(model: Transformer) -> None:
    """A neuron's code is a coordinate, so taking it out is setting the coordinate to 0."""
    found = debug(model, Neurons(model.d_model), TEXT, RIGHT, WRONG, site="0.resid_post", most=8)
    tokens = torch.tensor([model.tokenizer.encode(TEXT)])
    right, wrong = model.tokenizer.encode(RIGHT + WRONG, bos=False)
    culprit = found.culprits[0]

    def without(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[0, culprit.position, culprit.latent] = 0
        return x

    with model.edit("0.resid_post", without):
        logits = model(tokens)[0, -1]
    assert found.difference + culprit.measured == pytest.approx(float(logits[right] - logits[wrong]), abs=1e-4)
    assert culprit.flips == (found.difference + culprit.measured > 0)
    assert [one.measured for one in found.culprits] == sorted((one.measured for one in found.culprits), reverse=True)


def test_predictions_are_right_where_the_rest_of_the_model_is_nearly_linear(model: Transformer) -> None:
    found = debug(model, Neurons(model.d_model), TEXT, RIGHT, WRONG, site="1.resid_post", most=10)
    signs = [one.predicted * one.measured > 0 for one in found.culprits]
    assert sum(signs) >= 7


def test_the_wrong_answer_is_the_likeliest_other_where_none_is_given(model: Transformer) -> None:
    found = debug(model, Neurons(model.d_model), TEXT, RIGHT, site="0.resid_post", most=2)
    logits = model(torch.tensor([model.tokenizer.encode(TEXT)]))[0, -1]
    assert model.tokenizer.tokens([int(logits.argmax())])[0] == found.wrong
    assert found.difference < 0


def test_answers_of_several_tokens_and_texts_without_a_site_are_refused(model: Transformer) -> None:
    with pytest.raises(InputError, match="'xy' has 2 tokens"):
        debug(model, Neurons(model.d_model), TEXT, "xy", site="0.resid_post")
    with pytest.raises(InputError, match="which site"):
        debug(model, Neurons(model.d_model), TEXT, RIGHT)
