"""How much text an evaluation takes where nothing is said."""

from __future__ import annotations

import pytest

from monosema.models import random_model
from monosema.recipes import read_recipe
from monosema.runs.budget import LEAST, MOST, decided, evaluation_budget

OPEN = read_recipe(None)[0].replace(evaluation_tokens=None, site="15.resid_post")
OPEN = OPEN.replace(dictionary=OPEN.dictionary.replace(n_latents=9216))


def of(tokens: int | None, **changes) -> int:
    recipe = OPEN.replace(text=OPEN.text.replace(tokens=tokens), **changes)
    return evaluation_budget(recipe, 30, 576, 49_152)


def test_it_costs_no_more_than_capture_and_training() -> None:
    tokens = 400_000
    found = of(tokens)
    block, passes = 24 * 576**2, OPEN.stream.passes
    before, rest = 16 * block, 14 * block + 2 * 576 * 49_152
    assert LEAST < found < MOST
    assert found * (before + 6 * rest) == pytest.approx(tokens * (before + passes * 4 * 576 * 9216), rel=1e-3)


def test_it_has_bounds_and_the_recipe_overrules_it() -> None:
    assert (of(1000), of(10**9), of(None), of(400_000, evaluation_tokens=7)) == (LEAST, MOST, MOST, 7)
    assert of(400_000, site="3.resid_post") < of(400_000) < of(400_000, site="29.resid_post")


def test_a_run_decides_it_once() -> None:
    recipe = decided(OPEN.replace(site="1.resid_post"), random_model())
    assert recipe.evaluation_tokens is not None
    assert decided(recipe, random_model()) == recipe
