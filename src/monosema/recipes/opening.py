"""Which recipe is meant: the built-in one, a file's, or a run folder's."""

from __future__ import annotations

from pathlib import Path

from monosema.core import RunError
from monosema.recipes.demo import demo
from monosema.runs import Recipe

__all__ = ["read_recipe"]


def read_recipe(spec: str | Path | None) -> tuple[Recipe, Path | None]:
    """The recipe that is meant, and the run folder that it belongs to, where it lies in one.

    Args:
        spec: None or ``demo`` for the built-in recipe, a .toml file, or a run folder.

    Raises:
        RunError: a folder without a recipe.
        FormatError: no such file, or not TOML.
        ConfigError: unknown keys or wrong values in it.
    """
    path = None if spec is None else Path(spec)
    if path is None or (str(spec) == "demo" and not path.exists()):
        return demo(), None
    if path.is_dir():
        if not (path / "recipe.toml").exists():
            raise RunError(f"The folder {path} holds no run (no recipe.toml). Make one with: monosema run --out {path}")
        return Recipe.read(path / "recipe.toml"), path
    return Recipe.read(path), path.parent if (path.parent / "stages.json").exists() else None
