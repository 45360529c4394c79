"""The game: sets of players are what they say, in any chunks, under every removal."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.names_prompt import PROMPT, TWIN

from monosema.attribution import Game, Question, ask, heads_of, latents_of, neurons_of, strongest, tokens_of
from monosema.attribution.prefixes import parting, stretches
from monosema.core import InputError, Site
from monosema.dictionaries import SparseCoder, TopK
from monosema.interventions import Part, intervene, zero
from monosema.models import LanguageModel, Role


def sets(game: Game, n: int = 7) -> torch.Tensor:
    drawn = torch.rand(n, len(game), generator=torch.Generator().manual_seed(1)) < 0.5
    drawn[0], drawn[1] = True, False
    return drawn


@torch.no_grad()
def test_absent_tokens_are_those_of_the_twin(model: LanguageModel, question: Question) -> None:
    game = Game(model, question, tokens_of(model, question, "words"))
    chosen = sets(game)
    assert question.twin is not None
    for row, value in zip(chosen, game(chosen), strict=True):
        ids = list(question.ids)
        for there, group in zip(row.tolist(), tokens_of(model, question, "words").groups, strict=True):
            for at in group:
                ids[at] = ids[at] if there else question.twin[at]
        expected = question.target.value(model(torch.tensor([ids]))[:, -1:])
        torch.testing.assert_close(value, expected[0], atol=1e-4, rtol=0)


@torch.no_grad()
def test_masked_tokens_keep_their_positions_and_are_not_seen(model: LanguageModel, question: Question) -> None:
    game = Game(model, question, tokens_of(model, question, removal="mask"))
    ids = torch.tensor([question.ids])
    for row, value in zip(sets(game), game(sets(game)), strict=True):
        seen = torch.cat([torch.ones(1, dtype=torch.bool), row])[None]
        roles = torch.full_like(ids, Role.PROMPT)
        # Attention by hand: nothing but a token itself sees a hidden one.
        hide = (~seen[0] & ~torch.eye(len(seen[0]), dtype=torch.bool))[None, None]

        def hidden(scores: torch.Tensor, _: object, hide: torch.Tensor = hide) -> torch.Tensor:
            return scores.masked_fill(hide, float("-inf"))

        with torch.no_grad():
            stack = [model.attach(site, hidden) for site in model.sites() if site.component == "attn_scores"]
            for one in stack:
                one.__enter__()
            logits = model(ids, roles=roles)
            for one in reversed(stack):
                one.__exit__(None, None, None)
        torch.testing.assert_close(value, question.target.value(logits)[0], atol=1e-3, rtol=0)
    # With all of them hidden, the last token sees itself and what begins the text.
    assert abs(game.full - game.empty) > 0.1


@pytest.mark.parametrize("removal", ["twin", "mean", "zero", "unknown", "mask"])
def test_chunks_change_nothing_and_equal_sets_run_once(model: LanguageModel, question: Question, removal: str) -> None:
    players = tokens_of(model, question, removal=removal)
    whole, alone = Game(model, question, players), Game(model, question, players, memory_mb=0.01)
    assert alone.rows_at_once() == 1 < whole.rows_at_once()
    chosen = sets(whole)
    torch.testing.assert_close(whole(chosen.repeat(3, 1)), alone(chosen).repeat(3), atol=1e-4, rtol=0)
    # Sets that read alike are one row: prompt and twin differ in few words.
    assert whole.rows == len(chosen) if removal != "twin" else 1 < whole.rows < len(chosen)


@torch.no_grad()
@pytest.mark.parametrize("removal", ["twin", "mean", "zero", "unknown"])
@pytest.mark.parametrize("completion", [None, " Kevin, and so did"])
def test_rows_that_share_what_they_begin_with_answer_as_each_does_alone(
    model: LanguageModel, removal: str, completion: str | None
) -> None:
    asked = ask(model, PROMPT, completion=completion, twin=TWIN)
    game = Game(model, asked, tokens_of(model, asked, removal=removal))
    chosen = sets(game, 150)
    alone = torch.cat([game.value(game.players.absent(row)) for row in chosen.split(1)])
    torch.testing.assert_close(game(chosen), alone, atol=2e-4, rtol=0)


@given(st.lists(st.lists(st.integers(0, 1), min_size=9, max_size=9), min_size=1, max_size=300), st.integers(1, 4))
def test_a_text_is_cut_into_stretches_that_make_it_up_and_run_no_more_positions(
    rows: list[list[int]], outputs: int
) -> None:
    parts = parting(torch.unique(torch.tensor(rows), dim=0))
    cut = stretches(parts, 9, outputs)
    assert [at for start, end in cut for at in range(start, end)] == [*range(9)]
    assert cut[-1][0] <= 9 - outputs
    beginnings = [len({tuple(row[:end]) for row in rows}) for _, end in cut]
    assert [int((parts < end).sum()) for _, end in cut] == beginnings
    assert sum(n * (end - start) for n, (start, end) in zip(beginnings, cut, strict=True)) <= 9 * len(parts)


@pytest.mark.parametrize("removal", ["twin", "mean", "zero", "unknown"])
def test_gradients_lie_between_absent_and_present(model: LanguageModel, question: Question, removal: str) -> None:
    game = Game(model, question, tokens_of(model, question, "words", removal))
    ends = torch.stack([torch.ones(len(game)), torch.zeros(len(game)), torch.full((len(game),), 0.6)])
    values, slopes = game.gradient(ends)
    assert values[:2].tolist() == pytest.approx([game.full, game.empty], abs=1e-3)
    step = torch.zeros(len(game))
    step[3] = 1e-3
    (above, below), _ = game.gradient(torch.stack([ends[2] + step, ends[2] - step]))
    assert float(above - below) / 2e-3 == pytest.approx(float(slopes[2, 3]), abs=0.02, rel=0.02)


@torch.no_grad()
def test_an_absent_head_is_one_that_is_zeroed(model: LanguageModel, question: Question) -> None:
    game = Game(model, question, heads_of(model, question, "zero"))
    value = game(game.without_each()[[10]])
    assert game.players.names[10] == "a1.h2"
    with intervene(model, "1.z", zero(), Part(heads=[2])):
        expected = question.target.value(model(torch.tensor([question.ids])))
    torch.testing.assert_close(value, expected, atol=1e-4, rtol=0)
    twin = Game(model, question, heads_of(model, question))
    assert twin.full == pytest.approx(game.full, abs=1e-4)
    assert twin.empty != pytest.approx(game.empty, abs=0.1)


@torch.no_grad()
def test_the_strongest_neurons_are_few_and_the_others_stay(model: LanguageModel, question: Question) -> None:
    game = strongest(Game(model, question, neurons_of(model, question)), 5)
    assert len(game) == 5
    layer, column = (int(part[1:]) for part in game.players.names[0].split("."))
    value = game(game.without_each()[[0]])
    site = Site(layer, "mlp.post")
    assert question.twin is not None
    twin = model.activations(torch.tensor([question.twin]), [site])[site]

    def put(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[..., column] = twin[..., column]
        return x

    with model.edit(site, put):
        expected = question.target.value(model(torch.tensor([question.ids])))
    torch.testing.assert_close(value, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_absent_latents_leave_and_the_error_stays(model: LanguageModel, question: Question) -> None:
    dictionary = SparseCoder(model.d_model, 64, TopK(k=4))
    game = Game(model, question, latents_of(model, question, dictionary, "3.resid_post"))
    value, n = game.empty, len(question.ids)

    def take_out(x: torch.Tensor) -> torch.Tensor:
        parts = dictionary.encode(x[0]).dense() @ dictionary.directions
        parts[0] = 0.0  # Dictionaries don't read BOS.
        return x - parts[None]

    with model.edit("3.resid_post", take_out):
        expected = question.target.value(model(torch.tensor([question.ids])))
    assert value == pytest.approx(float(expected), abs=1e-3)
    assert n == len(question.ids)


def test_players_that_there_are_not_are_said(model: LanguageModel, question: Question) -> None:
    for segments, removal, said in (("verses", None, "no players"), ("tokens", "men", "Did you mean 'mean'")):
        with pytest.raises(InputError, match=said):
            tokens_of(model, question, segments, removal)
    with pytest.raises(InputError, match="no counterfactual twin"):
        tokens_of(model, ask(model, "A room near the office"), removal="twin")
    with pytest.raises(InputError, match="is for tokens"):
        heads_of(model, question, "mask")
