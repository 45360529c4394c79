"""Runs on disk: a recipe, its stages, what is done and what is next."""

from __future__ import annotations

from monosema.runs.context import open_model
from monosema.runs.display import training_display
from monosema.runs.doctor import examine
from monosema.runs.encode import encode_vectors, open_dictionary
from monosema.runs.items import item_recipe
from monosema.runs.ledger import StageRecord
from monosema.runs.overrides import apply_overrides, flatten, override, parse_keys
from monosema.runs.pipeline import Stage, register_stage
from monosema.runs.plan import Plan, StagePlan, plan
from monosema.runs.recipe import SHORT_KEYS, CorpusChoice, ModelChoice, Recipe, ReportChoice, StreamChoice
from monosema.runs.run import Run, run
from monosema.runs.scaling import fit_sweep
from monosema.runs.sweeps import parse_sweep, sweep_run, sweep_vectors
from monosema.runs.vectors import VectorRecipe, read_vector_recipe, train_vectors

__all__ = [
    "SHORT_KEYS",
    "CorpusChoice",
    "ModelChoice",
    "Plan",
    "Recipe",
    "ReportChoice",
    "Run",
    "Stage",
    "StagePlan",
    "StageRecord",
    "StreamChoice",
    "VectorRecipe",
    "apply_overrides",
    "encode_vectors",
    "examine",
    "fit_sweep",
    "flatten",
    "item_recipe",
    "open_dictionary",
    "open_model",
    "override",
    "parse_keys",
    "parse_sweep",
    "plan",
    "read_vector_recipe",
    "register_stage",
    "run",
    "sweep_run",
    "sweep_vectors",
    "train_vectors",
    "training_display",
]
