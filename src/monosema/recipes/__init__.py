"""Recipes: functions that return a whole run as one value, and the whole walk on one screen."""

from __future__ import annotations

from monosema.recipes.demo import demo
from monosema.recipes.opened import opened
from monosema.recipes.opening import read_recipe
from monosema.recipes.quickstart import quickstart
from monosema.recipes.smollm2 import smollm2
from monosema.recipes.transcoders import transcoders

__all__ = ["demo", "opened", "quickstart", "read_recipe", "smollm2", "transcoders"]
