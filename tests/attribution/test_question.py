"""Questions: values are those of the model's own logits, and what can't be asked is said."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.names_prompt import PROMPT

from monosema.attribution import Completion, Contrast, Game, Question, Token, ask, question_of, task_pairs, tokens_of
from monosema.core import InputError
from monosema.models import LanguageModel, Role


@torch.no_grad()
def test_values_are_those_of_the_logits(model: LanguageModel, question: Question) -> None:
    ids = torch.tensor([question.ids])
    logits = model(ids)[0, -1]
    contrast = question.target
    assert isinstance(contrast, Contrast)
    (right,), (wrong,) = contrast.right, contrast.wrong
    value = Game(model, question, tokens_of(model, question)).full
    assert value == pytest.approx(float(logits[right] - logits[wrong]), abs=1e-4)
    alone = ask(model, PROMPT, target="Kevin", alone=True)
    assert alone.target == Token(right)
    value = Game(model, alone, tokens_of(model, alone)).full
    assert value == pytest.approx(float(logits.log_softmax(-1)[right]), abs=1e-4)


@torch.no_grad()
def test_a_completion_is_the_sum_over_its_tokens(model: LanguageModel) -> None:
    asked = ask(model, PROMPT, completion=" Kevin. The office")
    assert isinstance(asked.target, Completion)
    ids = asked.target.ids
    whole = torch.tensor([[*asked.ids, *ids]])
    after = model(whole)[0].log_softmax(-1)
    n = len(asked.ids)
    expected = sum(float(after[n - 1 + step, id]) for step, id in enumerate(ids))
    game = Game(model, asked, tokens_of(model, asked))
    assert game.full == pytest.approx(expected, abs=1e-3)
    assert len(game) == n - 1  # The completion is no player, and nor is BOS.


def test_what_is_left_out_is_the_likeliest_token_and_the_next(model: LanguageModel) -> None:
    best = model(torch.tensor([model.tokenizer.encode(PROMPT)]))[0, -1].topk(2).indices.tolist()
    assert ask(model, PROMPT).target == Contrast((best[0],), (best[1],))


def test_tasks_give_their_answers_and_twins(model: LanguageModel) -> None:
    pairs, dropped = task_pairs(model, "ioi", 4)
    assert len(pairs) + sum(dropped.values()) == 4
    asked = question_of(pairs[0], model)
    assert asked.twin == tuple(pairs[0].corrupt)
    assert asked.roles[0] == Role.SPECIAL


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "Kevin", "foil": "Kevin"}, "same token"),
        ({"target": "Kevin and Nicholas"}, "is 5 tokens"),
        ({"target": 5000}, "There is no token 5000"),
        ({"target": "Kevin", "completion": " Kevin."}, "leave out the target"),
        ({"foil": "Kevin", "alone": True}, "exclude each other"),
        ({"completion": ""}, "no tokens"),
        ({"twin": "Anthony"}, "exchange words"),
    ],
)
def test_what_cant_be_asked_is_said(model: LanguageModel, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ask(model, PROMPT, **options)  # type: ignore[arg-type]


def test_words_and_sentences_hold_all_tokens_once(model: LanguageModel) -> None:
    text = "Kevin met Nicholas. They went home, and slept."
    asked = ask(model, text)
    for segments, n in (("tokens", len(asked.ids) - 1), ("words", 8), ("sentences", 2), ("messages", 1)):
        players = tokens_of(model, asked, segments)
        assert len(players.names) == n
        assert sorted(at for group in players.groups for at in group) == [*range(1, len(asked.ids))]
        assert "".join(players.names) == text
