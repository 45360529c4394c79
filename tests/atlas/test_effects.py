"""Whether features have direct effects on tokens."""

from __future__ import annotations

import inspect

import torch
from torch import nn

from monosema.atlas.effects import why_no_effects
from monosema.core import Site
from monosema.dictionaries import RandomDirections
from monosema.models import AdaptedModel, random_model


def test_a_model_that_does_not_say_its_width_is_a_reason_and_no_error() -> None:
    dictionary = RandomDirections(torch.zeros(32), torch.eye(4, 32), 1.0, 1)
    assert why_no_effects(random_model(), dictionary, Site.parse("1.resid_post")) is None
    unknown = AdaptedModel(nn.Sequential(nn.Linear(32, 32)), example=torch.ones(1, 32))
    # Unwrapped: the type checks of the tests ask for every fact of a language model.
    assert "does not say its d_model" in str(inspect.unwrap(why_no_effects)(unknown, dictionary, Site(None, "0")))
