"""Steerings of any kind and norm are made equally strong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monosema.core import ConfigError
from monosema.models import Role, Transformer, random_model
from monosema.steering import Add, Clamp, Direction, Edit, Steering, Where, for_divergence, steered

SITE = "0.resid_post"
TOKENS = torch.randint(0, 200, (4, 5), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


def vector(seed: int) -> Tensor:
    return torch.randn(32, generator=torch.Generator().manual_seed(seed))


def divergence(model: Transformer, steering: Steering) -> float:
    before = model(TOKENS).log_softmax(-1)
    with steered(model, steering):
        after = model(TOKENS).log_softmax(-1)
    return float((after.exp() * (after - before)).sum(-1).mean())


def test_the_divergence_is_the_one_that_was_asked_for_whatever_the_norm_and_the_move(model: Transformer) -> None:
    edits = [
        *(Edit(Direction(SITE, scale * vector(1)), Add(1.0)) for scale in (1e-4, 1.0, 1e4)),
        Edit(Direction(SITE, vector(2)), Add(-3.0)),
        Edit(Direction(SITE, vector(2)), Add(0.01), unit="norm"),
        Edit(Direction(SITE, vector(3)), Clamp(2.0, 2.0), Where(prompt=(1, None))),
    ]
    for kl in (0.05, 0.5):
        found = for_divergence(model, [Steering(edit) for edit in edits], TOKENS, kl)
        for edit, strength in zip(edits, found, strict=True):
            assert strength is not None
            assert divergence(model, Steering(edit, strength)) == pytest.approx(kl, rel=0.021)
        pushes = [strength * scale for strength, scale in zip(found, (1e-4, 1.0, 1e4), strict=False) if strength]
        assert max(pushes) == pytest.approx(min(pushes), rel=0.03)


def test_a_divergence_that_no_strength_gives_has_none(model: Transformer) -> None:
    push = Steering(Edit(Direction(SITE, vector(1)), Add(1.0)))
    never = Steering(Edit(Direction(SITE, vector(1)), Clamp(high=1e6)))
    assert for_divergence(model, [push], TOKENS, 1e6) == [None]
    assert for_divergence(model, [never], TOKENS, 0.5) == [None]
    assert for_divergence(model, [], TOKENS, 0.5) == []
    with pytest.raises(ConfigError, match="kl = 0"):
        for_divergence(model, [push], TOKENS, 0.0)


def test_with_roles_what_counts_is_what_written_tokens_are_drawn_from(model: Transformer) -> None:
    roles = torch.full_like(TOKENS, Role.PROMPT)
    roles[:, 3:] = Role.GENERATED
    push = Steering(Edit(Direction(SITE, vector(1)), Add(1.0)))
    (strength,) = for_divergence(model, [push], TOKENS, 0.3, roles=roles)
    assert strength is not None
    before = model(TOKENS).log_softmax(-1)[:, 2:4]
    with steered(model, push.at(strength)):
        after = model(TOKENS, roles=roles).log_softmax(-1)[:, 2:4]
    assert float((after.exp() * (after - before)).sum(-1).mean()) == pytest.approx(0.3, rel=0.021)
