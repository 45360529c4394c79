"""The surprisal scorer: many texts at once have the losses that each has alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from worlds import CopyModel, World

from monosema.interpretation import prompts
from monosema.interpretation.scorers.surprisal import Surprisal, losses
from monosema.interpretation.scoring import ScoringSession
from monosema.models import random_model


@torch.no_grad()
def test_losses_in_batches_are_those_of_each_text_alone() -> None:
    model = random_model()
    before = ["It holds: a.\n", "", "Longer words before.\n", prompts.NEUTRAL]
    passages = ["one", "two two two", "three and more", ""]
    found = losses(model, before, passages, batch=3)
    for start, text, loss in zip(before[:3], passages[:3], found[:3], strict=True):
        ids = model.tokenizer.encode(start)
        body = model.tokenizer.encode(text, bos=False)
        logs = model(torch.tensor([ids + body]))[0].log_softmax(-1)
        alone = -np.mean([float(logs[len(ids) + place - 1, token]) for place, token in enumerate(body)])
        assert loss == pytest.approx(alone, abs=1e-5)
    assert np.isnan(found[3])


def test_passages_that_do_not_fit_are_left_out_and_a_latent_without_any_is_absent() -> None:
    world = World(latents=2, each=4)
    base = CopyModel(world.tokenizer)
    session = ScoringSession(world.samples, world.tokenizer, made={"base": base, "passages": world.tests()})
    base.context = 40
    (whole,) = session.scores(world.oracle, [Surprisal()])
    assert whole.estimates.keys() == set(world.latents)
    base.context = 15
    (none,) = session.scores(world.oracle, [Surprisal()])
    assert not none.estimates
    assert none.failures == {"no active or no inactive passage that fits the base model's context": 2}
