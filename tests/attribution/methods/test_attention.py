"""Attention methods equal their definitions by hand."""

from __future__ import annotations

import pytest
import torch

from monosema.attribution import Game, Question, attribute, tokens_of
from monosema.attribution.methods.attention import _flows, patterns, rolled_out
from monosema.attribution.methods.value_zeroing import zeroed_layers
from monosema.models import LanguageModel, Transformer


@torch.no_grad()
def test_patterns_are_those_of_the_model(model: LanguageModel, question: Question) -> None:
    game = Game(model, question, tokens_of(model, question))
    ids = torch.tensor([question.ids])
    got = model.activations(ids, [f"{layer}.pattern" for layer in range(model.n_layers)])
    whole = torch.stack([got[f"{layer}.pattern"][0].mean(0) for layer in range(model.n_layers)])
    torch.testing.assert_close(patterns(game, "rollout"), whole)
    torch.testing.assert_close(attribute(game, "raw_attention").scores, whole.mean(0)[-1, 1:])
    by_hand = torch.eye(len(question.ids))
    for layer in whole:
        by_hand = (0.5 * layer + 0.5 * torch.eye(len(question.ids))) @ by_hand
    torch.testing.assert_close(attribute(game, "rollout").scores, by_hand[-1, 1:])
    assert rolled_out(whole).sum(1).tolist() == pytest.approx([1.0] * len(question.ids), abs=1e-4)


def test_the_flow_through_one_way_is_its_narrowest_edge() -> None:
    layers = torch.tensor([[[1.0, 0, 0], [0.8, 0.2, 0], [0, 0.5, 0.5]], [[1.0, 0, 0], [0, 1, 0], [0, 0.4, 0.6]]])
    flows = _flows(layers, 1)
    # To the first token one way leads: from the last to the second, 0.2, and from there to the first, 0.4.
    assert flows.tolist()[0] == pytest.approx(0.2, abs=1e-5)
    # To the last: it keeps 0.8 of itself above, 0.75 below.
    assert flows.tolist()[2] == pytest.approx(0.75, abs=1e-5)


@torch.no_grad()
def test_value_zeroing_is_a_layer_without_the_values_of_a_token(model: LanguageModel, question: Question) -> None:
    assert isinstance(model, Transformer)
    ids = torch.tensor([question.ids])
    tables = zeroed_layers(model, ids, rows=5)
    layer, at = 2, 4
    clean = model.activations(ids, [f"{layer}.resid_post"])[f"{layer}.resid_post"]

    def without(v: torch.Tensor) -> torch.Tensor:
        v = v.clone()
        v[:, at] = 0
        return v

    with model.edit(f"{layer}.v", without):
        changed = model.activations(ids, [f"{layer}.resid_post"])[f"{layer}.resid_post"]
    column = 1 - torch.cosine_similarity(changed[0], clean[0], dim=-1)
    # Rows are normalised: the ratio of two columns in a row is that of their changes.
    other = at - 1

    def without_other(v: torch.Tensor) -> torch.Tensor:
        v = v.clone()
        v[:, other] = 0
        return v

    with model.edit(f"{layer}.v", without_other):
        second = model.activations(ids, [f"{layer}.resid_post"])[f"{layer}.resid_post"]
    beside = 1 - torch.cosine_similarity(second[0], clean[0], dim=-1)
    row = 10
    expected = float(column[row] / beside[row])
    assert float(tables[layer][row, at] / tables[layer][row, other]) == pytest.approx(expected, rel=0.02)
    torch.testing.assert_close(tables[0].sum(1), torch.ones(len(question.ids)))
