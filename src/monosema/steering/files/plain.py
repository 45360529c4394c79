"""TOML and JSON: a steering's plain values, with vectors and maxima, so that directions need no other file."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monosema.core import ConfigError, FormatError, InputError, Site, atomic_path, write_json
from monosema.models import LanguageModel
from monosema.steering.coordinates import Direction, Latent
from monosema.steering.edits import Steering
from monosema.steering.spec import Resolve, spec_of, steering_of


def read(path: Path, resolve: Resolve | None, site: Site | None) -> Steering:
    """Read a steering. Raises FormatError for a file that is no TOML or JSON."""
    try:
        text = path.read_text(encoding="utf-8")
        spec = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (ValueError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} can't be read as {path.suffix[1:].upper()}: {error}") from None
    try:
        return of_values(spec, resolve)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None


def write(path: Path, steering: Steering, model: LanguageModel | None) -> None:
    """Write a steering."""
    spec = spec_of(steering, whole=True)
    if path.suffix == ".json":
        write_json(path, spec)
        return
    import tomli_w

    with atomic_path(path) as temporary:
        temporary.write_text(tomli_w.dumps(_toml(spec)), encoding="utf-8")


def of_values(spec: Mapping[str, Any], resolve: Resolve | None) -> Steering:
    """Read plain values, with directions that stand in them and nothing to look up where there is no `resolve`."""
    return steering_of(spec, resolve or _Nothing())


class _Nothing:
    """Finds nothing; a `Resolve`."""

    def latent(self, index: int, site: Site | None = None) -> Latent:
        raise ConfigError(f"latent = {index}: say which dictionary it is of (`Resolver.of` a run or a dictionary).")

    def direction(self, name: str, site: Site | None = None) -> Direction:
        raise ConfigError(f"direction = {name!r} stands here without its vector: say where it is (`Resolver`).")


def _toml(value: Any) -> Any:
    """Values that TOML has: "none" for null, infinite bounds as such."""
    if isinstance(value, dict):
        values = {key: _toml(one) for key, one in value.items()}
        if "clamp" in value:
            low, high = value["clamp"]
            values["clamp"] = [-math.inf if low is None else low, math.inf if high is None else high]
        return values
    if isinstance(value, list):
        # A window without an end.
        return [_toml(one) for one in value if one is not None]
    return "none" if value is None else value
