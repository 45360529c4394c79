"""Recipes: functions that return a whole run as one value, and the walk written out."""

from __future__ import annotations

from monosema.recipes.demo import demo
from monosema.recipes.opening import read_recipe
from monosema.recipes.smollm2 import smollm2
from monosema.recipes.walk import walk

__all__ = ["demo", "read_recipe", "smollm2", "walk"]
