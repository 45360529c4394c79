"""Methods that ask only what is answered: Shapley values are those of all orders, and all methods agree on sums."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from tests.helpers.known_game import KnownGame, additive, curved

from monosema.attribution import METHODS, Game, Question, attribute, tokens_of
from monosema.attribution.methods import KernelShap, Occlusion, Shapley
from monosema.core import ConfigError, InputError
from monosema.models import LanguageModel


def by_hand(game: KnownGame) -> torch.Tensor:
    """Mean rises over all orders."""
    n = len(game)
    found = torch.zeros(n, dtype=torch.float64)
    for order in itertools.permutations(range(n)):
        there = torch.zeros(1, n, dtype=torch.bool)
        before = game.empty
        for player in order:
            there[0, player] = True
            after = float(game(there))
            found[player] += after - before
            before = after
    return (found / math.factorial(n)).float()


def test_exact_values_are_the_mean_over_all_orders() -> None:
    game = curved(5)
    expected = by_hand(game)
    for method in (Shapley(), KernelShap()):
        found = attribute(game, method)
        torch.testing.assert_close(found.scores, expected, atol=1e-6, rtol=0)
        assert found.gap == pytest.approx(0, abs=1e-5)


def test_drawn_values_come_near_and_sum_exactly() -> None:
    game = curved(12)
    exact = attribute(game, Shapley(exact=12)).scores
    for method in (Shapley(sets=3000), KernelShap(sets=3000)):
        found = attribute(game, method)
        torch.testing.assert_close(found.scores, exact, atol=0.15, rtol=0)
        assert found.gap == pytest.approx(0, abs=1e-5)
        assert found.rows <= 3002
    found = attribute(game, Shapley(sets=3000))
    assert found.errors is not None
    # Effects of pairs cancel within an order and its reverse; those of triples don't.
    assert (found.scores - exact).abs().le(4 * found.errors + 1e-5).all()
    assert attribute(game, Shapley(sets=300), seed=1).scores.tolist() != found.scores.tolist()


def test_without_interactions_all_methods_give_what_each_player_adds() -> None:
    game = additive(7)
    for method in (
        Occlusion(),
        Shapley(exact=2),
        KernelShap(),
        METHODS["integrated_gradients"],
        METHODS["gradient_input"],
    ):
        torch.testing.assert_close(attribute(game, method).scores, torch.arange(1.0, 8), atol=1e-4, rtol=0)


def test_one_player_has_it_all() -> None:
    game = additive(1)
    for name in ("occlusion", "shapley", "kernel_shap", "integrated_gradients"):
        assert attribute(game, name).scores.tolist() == pytest.approx([1.0], abs=1e-5)


def test_words_that_the_twin_shares_cost_no_sets_and_the_others_are_exact(
    model: LanguageModel, question: Question
) -> None:
    game = Game(model, question, tokens_of(model, question))
    shares = [text == other for text, other in zip(question.ids, question.twin or (), strict=True)]
    assert len(game) > 10 > len(game.moving) == shares.count(False)
    found, n = attribute(game, "shapley"), len(game.moving)
    assert found.errors is None
    assert found.rows <= 2**n
    # The slow twin: all sets of those that change, each by a pass of its own.
    slow = by_hand(KnownGame(n, lambda c: game(_among(game, c > 0)).double()))
    torch.testing.assert_close(found.scores[game.moving], slow, atol=1e-4, rtol=0)
    idle = torch.ones(len(game), dtype=torch.bool)
    idle[game.moving] = False
    assert not found.scores[idle].any()
    fitted, drawn = attribute(game, "kernel_shap"), attribute(game, Shapley(exact=1, sets=2000))
    torch.testing.assert_close(fitted.scores, found.scores, atol=1e-3, rtol=0)
    assert drawn.errors is not None
    assert bool((drawn.scores - found.scores).abs().le(5 * drawn.errors + 1e-4).all())


def _among(game: Game, present: torch.Tensor) -> torch.Tensor:
    whole = torch.ones(len(present), len(game), dtype=torch.bool)
    whole[:, game.moving] = present
    return whole


def test_a_prompt_that_is_its_own_twin_gives_nobody_anything(model: LanguageModel, question: Question) -> None:
    same = replace(question, twin=question.ids)
    game = Game(model, same, tokens_of(model, same))
    for name in ("shapley", "kernel_shap"):
        assert not attribute(game, name).scores.any()


def test_on_a_prompt_shapley_values_sum_to_the_difference(model: LanguageModel, question: Question) -> None:
    game = Game(model, question, tokens_of(model, question, "words"))
    found = attribute(game, Shapley(sets=64))
    assert float(found.scores.sum()) == pytest.approx(game.full - game.empty, abs=1e-4)
    assert found.gap is not None
    assert abs(found.gap) < 1e-5
    # With a twin only what differs from it can matter.
    names = {name for name, score in zip(found.names, found.scores.tolist(), strict=True) if abs(score) > 1e-3}
    assert names == {" Kevin", " Nicholas"}


def test_the_list_of_methods_is_open_and_names_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'occlusion'"):
        attribute(additive(2), "oclusion")
    with pytest.raises(ConfigError, match="already"):
        from monosema.attribution import register_method

        register_method(Occlusion())
