"""Fluency and divergence, against one pass of one text at a time."""

from __future__ import annotations

import math

import pytest
import torch

from monosema.core import Site
from monosema.models import GenerationConfig, ReadPrompt, Transformer, random_model, read_prompt
from monosema.steering import Add, Direction, Edit, Steering, Where, steered
from monosema.steering.metrics.likelihood import Likelihood, Written, likelihoods


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


def prompt(model: Transformer, text: str) -> ReadPrompt:
    return read_prompt(text, model.tokenizer, GenerationConfig())


def push(amount: float, where: Where | None = None) -> Steering:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(1))
    return Steering(Edit(Direction(Site(0, "resid_post"), vector), Add(amount), where or Where()))


def test_sums_are_those_of_one_text_alone(model: Transformer) -> None:
    plain, tokens = prompt(model, "hello"), (5, 9, 30)
    steering = push(2.0)
    ids = torch.tensor([plain.ids + list(tokens)])
    before = model(ids).log_softmax(-1)[0, len(plain.ids) - 1 : -1]
    with steered(model, steering):
        after = model(ids).log_softmax(-1)[0, len(plain.ids) - 1 : -1]
    surprisal = -float(sum(before[at, token] for at, token in enumerate(tokens)))
    divergence = float((after.exp() * (after - before)).sum())
    assert divergence > 0.01
    texts = [Written(plain, plain, (1,)), Written(plain, plain, tokens, steering), Written(plain, plain, ())]
    for memory in (512, 0):
        found = dict(likelihoods(model, texts, memory))
        assert found[1].surprisal == pytest.approx(surprisal, rel=1e-4)
        assert found[1].divergence == pytest.approx(divergence, rel=1e-3)
        assert found[0].divergence == 0
        assert found[2] == Likelihood(0.0, 0.0, 0)


def test_an_edit_of_written_tokens_leaves_the_first_one_alone(model: Transformer) -> None:
    plain = prompt(model, "hello")
    steering = push(2.0, Where(prompt=None))
    one, two = (dict(likelihoods(model, [Written(plain, plain, t, steering)]))[0] for t in ((5,), (5, 9)))
    assert one.divergence == pytest.approx(0, abs=1e-5)
    assert two.divergence > 0.01


def test_a_prefix_moves_predictions_and_is_not_read_by_the_unsteered_model(model: Transformer) -> None:
    plain, given = prompt(model, "hello"), prompt(model, "Oh hello")
    prefixed, bare = (dict(likelihoods(model, [Written(plain, one, (5, 9))]))[0] for one in (given, plain))
    assert prefixed.surprisal == bare.surprisal
    assert math.isfinite(prefixed.divergence)
    assert prefixed.divergence > 0.001
