"""Recipes: functions that return a whole run as one value."""

from __future__ import annotations

from monosema.recipes.demo import demo
from monosema.recipes.opening import read_recipe

__all__ = ["demo", "read_recipe"]
