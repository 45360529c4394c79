"""Methods that hand differences or relevance down: they conserve it, and conserve nothing by accident."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.families import KINDS, family_model

from monosema.attribution import Contrast, Game, Question, ask, attribute, tokens_of
from monosema.attribution.methods.relevance import positive_parts
from monosema.core import UnsupportedModelError
from monosema.models import LanguageModel, Role, Transformer


@pytest.mark.parametrize("removal", ["twin", "mean", "unknown"])
def test_deep_lift_sums_to_the_difference(model: LanguageModel, question: Question, removal: str) -> None:
    found = attribute(Game(model, question, tokens_of(model, question, "words", removal)), "deep_lift")
    assert found.gap is not None
    assert abs(found.gap) < 1e-3
    assert abs(found.total) > 1


def family_question(model: Transformer) -> Question:
    ids = tuple(range(5, 11))
    return Question(ids=ids, roles=(Role.PROMPT,) * 6, target=Contrast((3,), (4,)), twin=(7, 9, 5, 6, 8, 10))


@pytest.mark.parametrize("kind", KINDS)
def test_in_every_family_deep_lift_is_exact_or_refused(kind: str) -> None:
    model = family_model(kind)
    asked = family_question(model)
    game = Game(model, asked, tokens_of(model, asked))
    config = model.config
    capped = config.score_softcap is not None or config.logit_softcap is not None
    if capped or config.norm_queries_and_keys or config.norm_outputs:
        with pytest.raises(UnsupportedModelError, match="no multipliers"):
            attribute(game, "deep_lift")
        return
    found = attribute(game, "deep_lift")
    assert found.gap == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", ["cp_lrp", "z_plus"])
def test_without_biases_relevance_is_conserved(model: LanguageModel, question: Question, name: str) -> None:
    found = attribute(Game(model, question, tokens_of(model, question)), name)
    assert found.notes["share that arrives"] == pytest.approx(1, abs=1e-3)


def test_the_softmax_keeps_a_part_of_relevance(model: LanguageModel, question: Question) -> None:
    found = attribute(Game(model, question, tokens_of(model, question)), "attn_lrp")
    assert found.notes["share that arrives"] != pytest.approx(1, abs=0.05)


def test_the_positive_rule_hands_down_what_adds_above_zero() -> None:
    model = family_model(next(iter(KINDS)))
    layer = model.blocks[0].mlp.out  # type: ignore[union-attr]
    x = torch.randn(3, layer.weight.shape[1], requires_grad=True)  # type: ignore[union-attr]
    with positive_parts(model):
        out = layer(x)  # type: ignore[operator]
        (slope,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(out, layer(x))  # type: ignore[operator]
    added = (x[:, None] * layer.weight).clamp(min=0)  # type: ignore[operator]
    expected = (added / added.sum(-1, keepdim=True) * out[..., None]).sum(1)
    torch.testing.assert_close(slope * x, expected, atol=1e-4, rtol=1e-3)


def test_flips_end_where_the_foil_wins(model: LanguageModel, question: Question) -> None:
    game = Game(model, question, tokens_of(model, question, "words"))
    found = attribute(game, "flips")
    assert found.notes["flipped"] == 1
    gone = found.scores != 0
    assert int(gone.sum()) == found.notes["taken out"]
    assert float(game(~gone[None])) < 0 < game.full
    alone = ask(model, "A room near", alone=True)
    with pytest.raises(UnsupportedModelError, match="two answers"):
        attribute(Game(model, alone, tokens_of(model, alone)), "flips")
