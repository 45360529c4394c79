"""Opening of recipes: a built-in one, a file's, or a run folder's."""

from __future__ import annotations

from pathlib import Path

from monosema.core import FormatError, RunError, nearest
from monosema.recipes.demo import demo
from monosema.recipes.smollm2 import smollm2
from monosema.runs import Recipe

BUILT_IN = {"demo": demo, "smollm2": smollm2}


def read_recipe(spec: str | Path | None) -> tuple[Recipe, Path | None]:
    """The recipe that is meant, and the run folder that it belongs to, where it lies in one.

    Args:
        spec: ``demo`` or ``smollm2`` for a built-in recipe (None for the first), a .toml file, or a run folder.

    Raises:
        RunError: a folder without a recipe.
        FormatError: no such recipe or file, or not TOML.
        ConfigError: unknown keys or wrong values in it.
    """
    name = "demo" if spec is None else str(spec)
    path = Path(name)
    if name in BUILT_IN and (spec is None or not path.exists()):
        return BUILT_IN[name](), None
    if path.is_dir():
        if not (path / "recipe.toml").exists():
            raise RunError(
                f"The folder {path} holds no run (no recipe.toml). Make one with: monosema run --out {path}. Where it "
                f"is a dictionary, open it with: monosema run --dictionary {path}"
            )
        return Recipe.read(path / "recipe.toml"), path
    if not path.exists() and not path.suffix:
        raise FormatError(f"There is no recipe {name!r}, and no such file or folder.{nearest(name, BUILT_IN)}")
    return Recipe.read(path), path.parent if (path.parent / "stages.json").exists() else None
