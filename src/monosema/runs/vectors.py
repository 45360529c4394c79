"""Training on any matrix of vectors, outside of a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from monosema.core import Config, InputError, Progress
from monosema.runs.overrides import apply_overrides, parse_keys
from monosema.training import TrainConfig, TrainResult, train_on_vectors

__all__ = ["VectorRecipe", "read_vector_recipe", "train_vectors"]


class VectorRecipe(Config):
    """A TopK dictionary of a matrix's rows."""

    latents: int = Field(4096, gt=0)
    """Number of latents."""
    k: int = Field(32, gt=0)
    """Latents kept per row."""
    batch: int = Field(4096, gt=0)
    """Rows in a batch."""
    passes: int = Field(1, gt=0)
    """How often every row is seen."""
    heldout: int | None = Field(None, ge=0)
    """Rows at the end that are never trained on; None is 20,480, and at most a tenth."""
    training: TrainConfig = TrainConfig()


def read_vector_recipe(words: Sequence[str], seed: int | None = None) -> VectorRecipe:
    """The recipe that words say. Raises InputError for plain words, unknown keys and values out of range."""
    plain, overrides = parse_keys(words)
    if plain:
        raise InputError(f"With --activations there is no recipe: {plain[0]!r} is not a key. Keys begin with --.")
    if seed is not None:
        overrides["training.seed"] = str(seed)
    return apply_overrides(VectorRecipe(), overrides)


def train_vectors(
    path: str | Path, out: str | Path, recipe: VectorRecipe, progress: Progress | None = None
) -> TrainResult:
    """Train on the rows of a file or store; see train_on_vectors for what it raises."""
    return train_on_vectors(
        path,
        latents=recipe.latents,
        k=recipe.k,
        batch=recipe.batch,
        out=out,
        passes=recipe.passes,
        config=recipe.training,
        heldout=recipe.heldout,
        progress=progress,
    )
