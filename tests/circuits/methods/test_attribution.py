"""Attribution: fast scores are those of the masks' gradients, in every kind of decoder; paths are complete."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.families import KINDS, family_model
from tests.helpers.letters import task_of_letters
from tests.helpers.mask_gradients import mask_gradients

from monosema.circuits import LogitDifference, ablation_named, contrasts, end_metrics
from monosema.circuits.memory import pass_memory
from monosema.circuits.methods import METHODS, Attribution, Problem
from monosema.circuits.planted import PLANTED
from monosema.models import random_model


@pytest.mark.parametrize("kind", KINDS)
def test_fast_scores_are_the_gradients_of_the_masks(kind: str) -> None:
    model = family_model(kind, seed=1)
    given = (model, contrasts(task_of_letters(2), model), ablation_named("resample"), LogitDifference())
    slow, fast = mask_gradients(*given), METHODS["eap"](Problem(*given))
    assert torch.allclose(fast.by_prompt, slow, atol=1e-5)
    assert float(slow.abs().max()) > 1e-2


@pytest.mark.parametrize("along", ["masks", "inputs", "activations"])
def test_scores_sum_to_the_difference_between_the_ends_of_their_path(along: str) -> None:
    model = family_model("gpt_neox", seed=1)
    prompts, metric = contrasts(task_of_letters(2), model), LogitDifference()
    clean, corrupt = end_metrics(model, prompts, metric)
    scores = Attribution(along=along, steps=12)(Problem(model, prompts, ablation_named("resample"), metric)).by_prompt
    # Only the embedding moves along a path of inputs, and along the first path of activations.
    moved = scores if along == "masks" else scores[:, :1]
    assert torch.allclose(moved.sum((1, 2)), clean - corrupt, atol=2e-3)


def test_a_point_on_the_path_of_masks_is_the_exchange_of_all_edges_by_that_share() -> None:
    model = family_model("gemma2", seed=1)
    given = (model, contrasts(task_of_letters(2), model), ablation_named("resample"), LogitDifference())
    # One Gauss–Legendre point is the midpoint.
    slow, fast = mask_gradients(*given, share=0.5), Attribution(along="masks", steps=1)(Problem(*given))
    assert torch.allclose(fast.by_prompt, slow, atol=1e-5)


@pytest.mark.parametrize("name", ["reverse", "proportion", "induction", "indirect-object"])
def test_planted_circuits_are_found(name: str) -> None:
    subject = PLANTED[name](8)
    scores = METHODS["eap-ig-masks"](
        Problem(subject.model, subject.contrasts, ablation_named(subject.ablation), LogitDifference())
    )
    assert subject.auroc(scores) >= 0.95


def test_parts_that_fit_memory_give_the_same_scores() -> None:
    model = random_model()
    given = (model, contrasts(task_of_letters(4), model), ablation_named("mean"), LogitDifference())
    whole = METHODS["eap"](Problem(*given))
    with pass_memory(1e-6):
        parts = METHODS["eap"](Problem(*given))
    assert torch.allclose(whole.by_prompt, parts.by_prompt, atol=1e-5)
