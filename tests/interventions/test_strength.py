"""Directions of any norm are pushed equally far."""

from __future__ import annotations

import pytest
import torch

from monosema.interventions import strength_at
from monosema.models import random_model


@torch.no_grad()
def test_the_divergence_is_the_one_that_was_asked_for_whatever_the_norm() -> None:
    model = random_model()
    tokens = torch.randint(0, 200, (4, 5), generator=torch.Generator().manual_seed(0))
    before = model(tokens).log_softmax(-1)
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
    found = {}
    for scale in (0.01, 1.0, 100.0):
        strength = strength_at(model, "0.resid_post", scale * direction, tokens, 0.5)
        assert strength is not None
        with model.edit("0.resid_post", lambda x, by=strength * scale: x + by * direction):
            after = model(tokens).log_softmax(-1)
        assert float((after.exp() * (after - before)).sum(-1).mean()) == pytest.approx(0.5, rel=0.1)
        found[scale] = strength * scale
    assert max(found.values()) == pytest.approx(min(found.values()), rel=1e-3)
    assert strength_at(model, "0.resid_post", torch.zeros(32), tokens, 0.5) is None
    assert strength_at(model, "0.resid_post", direction, tokens, 1e6) is None
