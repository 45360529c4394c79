"""A feature that makes an answer wrong is found, and what is taken out is exactly that feature."""

from __future__ import annotations

import pytest
import torch

from monosema.circuits import Contrasts, contrasts, debug, debug_task, debugging
from monosema.core import InputError
from monosema.data.tasks import Prompt, Span, Task
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


def test_what_flips_is_no_more_than_needed_and_draws_are_of_equal_size(model: Transformer) -> None:
    found = debug(model, Neurons(model.d_model), TEXT, RIGHT, site="0.resid_post", most=model.d_model)
    assert found.together == len(found.removed)
    assert found.gained > 0
    assert len(found.chance) == 10
    fewer = debug(model, Neurons(model.d_model), TEXT, RIGHT, site="0.resid_post", most=len(found.removed) - 1 or 1)
    assert fewer.together is None or fewer.together >= len(found.removed)


def test_others_of_equal_size_are_drawn_from_the_nearest() -> None:
    sizes = torch.arange(100.0)
    for drawn in debugging._alike(sizes, torch.tensor([50]), seed=0):
        assert len(drawn) == 1
        assert 1 <= abs(int(drawn[0]) - 50) <= 4
    assert [*debugging._alike(torch.ones(2), torch.tensor([0, 1]), seed=0)] == []


def test_an_answer_that_is_right_and_a_task_without_a_mistake_are_refused(model: Transformer) -> None:
    best = int(model(torch.tensor([model.tokenizer.encode(TEXT)]))[0, -1].argmax())
    with pytest.raises(InputError, match="nothing to debug"):
        debug(model, Neurons(model.d_model), TEXT, model.tokenizer.tokens([best])[0], site="0.resid_post")
    with pytest.raises(InputError, match="nothing to debug"):
        debug_task(model, Neurons(model.d_model), _task(model, [("ab", 1)]), site="0.resid_post")


def test_each_wrong_answer_of_a_task_is_debugged_once_beside_what_the_repair_costs(model: Transformer) -> None:
    prompts = _task(model, [("some words", 1), ("words", -1), ("words", -1)])
    found = debug_task(model, Neurons(model.d_model), prompts, site="0.resid_post", most=4)
    assert (found.right.n, found.right.value) == (2, 0.5)
    (case,) = found.cases
    assert case.text == "words"
    right, wrong = (case.right, case.wrong)
    assert case == debug(model, Neurons(model.d_model), "words", right, wrong, site="0.resid_post", most=4)
    assert found.together.value == (case.together is not None)
    assert found.harmed is not None

    latents = sorted({one.latent for one in case.removed})
    flipped = int(case.together is not None)
    assert sorted((one.latent, one.cases, one.flipped) for one in found.latents) == [(k, 1, flipped) for k in latents]
    ids = torch.tensor([model.tokenizer.encode("some words")])

    def without(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[:, ~torch.isin(ids[0], torch.tensor([*model.tokenizer.special_ids]))] *= ~torch.isin(
            torch.arange(x.shape[2]), torch.tensor(latents)
        )
        return x

    with model.edit("0.resid_post", without):
        logits = model(ids)[0, -1]
    kept = next(one for one in prompts.prompts if one.clean == "some words")
    ends = [model.tokenizer.encode(one[0], bos=False)[0] for one in (kept.correct, kept.wrong)]
    assert found.harmed.value == float(logits[ends[0]] < logits[ends[1]])
    assert found.harmed.low < found.harmed.high


def _task(model: Transformer, rows: list[tuple[str, int]]) -> Contrasts:
    """Return prompts whose answers are the model's likeliest and unlikeliest letter, in this order where sign is 1."""
    prompts = list[Prompt]()
    for text, sign in rows:
        logits = model(torch.tensor([model.tokenizer.encode(text)]))[0, -1]
        letters = sorted("abcdefgh", key=lambda one: sign * float(logits[model.tokenizer.encode(one, bos=False)[0]]))
        end = Span(role="END", start=0, end=1)
        answers = {"correct": (letters[-1],), "wrong": (letters[0],)}
        prompts.append(Prompt(clean=text, corrupt=text, **answers, spans=(end,), form="f"))
    return contrasts(Task(name="letters", metric="logit_difference", split="test", prompts=tuple(prompts)), model)
