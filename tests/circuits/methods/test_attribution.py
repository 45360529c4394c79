"""Attribution: fast scores are those of the masks' gradients, in every kind of decoder; paths are complete."""

from __future__ import annotations

import pytest
import torch

from monosema.circuits import LogitDifference, ablation_named, contrasts, end_metrics
from monosema.circuits.mask_gradients import mask_gradients
from monosema.circuits.methods import METHODS, Attribution
from monosema.models import random_model
from tests.circuits.test_circuit import task_of_letters
from tests.helpers.families import KINDS, family_model


@pytest.mark.parametrize("kind", KINDS)
def test_fast_scores_are_the_gradients_of_the_masks(kind: str) -> None:
    model = family_model(kind, seed=1)
    given = (model, contrasts(task_of_letters(2), model), ablation_named("resample"), LogitDifference())
    slow, fast = mask_gradients(*given, steps=1), METHODS["eap"](*given)
    assert torch.allclose(fast.by_prompt, slow.by_prompt, atol=1e-5)
    assert float(slow.by_prompt.abs().max()) > 1e-2


@pytest.mark.parametrize("kind", ["gpt_neox", "llama", "gemma2"])
def test_scores_sum_to_the_difference_between_the_ends_of_their_path(kind: str) -> None:
    model = family_model(kind, seed=1)
    prompts, metric = contrasts(task_of_letters(2), model), LogitDifference()
    clean, corrupt = end_metrics(model, prompts, metric)
    for along in ("masks", "inputs", "activations"):
        scores = Attribution(along=along, steps=16)(model, prompts, ablation_named("resample"), metric).by_prompt
        # Only the embedding moves along a path of inputs, and along the first path of activations.
        moved = scores if along == "masks" else scores[:, :1]
        assert torch.allclose(moved.sum((1, 2)), clean - corrupt, atol=2e-3), along


def test_parts_that_fit_memory_give_the_same_scores() -> None:
    model = random_model()
    given = (model, contrasts(task_of_letters(4), model), ablation_named("mean"), LogitDifference())
    for name in ("eap", "eap-ig-activations"):
        assert torch.allclose(METHODS[name](*given).by_prompt, METHODS[name](*given, row_bytes=1).by_prompt, atol=1e-5)
