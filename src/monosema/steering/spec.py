"""A steering as plain values: the one form that files, the API, addresses and "as code" share.

    {"strength": 1.0, "edits": [{
        "latent": 17 | "direction": NAME or FILE | "head": [LAYER, HEAD] with a direction,   "site": "3.resid_post",
        "add": 2.0 | "scale": 0.5 | "clamp": [LOW, HIGH],    "only_active": false,    "unit": "max" | "norm" | "raw",
        "prompt": "all" | "last" | [A, B] | null,   "generated": "all" | [A, B] | null,
        "special": false, "template": false}]}

All but what is edited and its move may be left out: the unit of a latent is "max" then, of others "raw". A bound that
is null is none; where there is no null, as in TOML, "none" stands for it, and a bound that is missing or infinite. A
form that is to be read without its sources holds "vector" and "maximum" too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from monosema.core import ConfigError, InputError, Site, nearest
from monosema.steering.coordinates import Coordinate, Direction, Head, Latent
from monosema.steering.edits import Edit, Steering, unit_of
from monosema.steering.moves import Add, Clamp, Move, Scale
from monosema.steering.where import DEFAULT, Where, generated_part, prompt_part

_COORDINATES, _MOVES = ("latent", "direction", "head"), ("add", "scale", "clamp")
_FIELDS = (
    *_COORDINATES,
    *_MOVES,
    *("site", "vector", "maximum", "only_active", "unit", "prompt", "generated", "special", "template"),
)


@runtime_checkable
class Resolve(Protocol):
    """Finds what a form names; see `Resolver`."""

    def latent(self, index: int, site: Site | None = None) -> Latent:
        """Return a latent of the dictionary at a site; None where there is one dictionary."""
        ...

    def direction(self, name: str, site: Site | None = None) -> Direction:
        """Return a direction by its name or file; `site` where one file has several, or doesn't say."""
        ...


def steering_of(spec: Mapping[str, Any], resolve: Resolve) -> Steering:
    """Read a steering's plain values. Raises ConfigError, which names the field, for others than the module's."""
    if not isinstance(spec, Mapping) or not isinstance(spec.get("edits"), Sequence) or isinstance(spec["edits"], str):
        raise ConfigError('A steering is {"edits": [...], "strength": 1.0}: it needs a list of edits.')
    if other := [key for key in spec if key not in ("edits", "strength")]:
        raise ConfigError(f"A steering has no field {other[0]!r}.{nearest(str(other[0]), ('edits', 'strength'))}")
    edits = []
    for number, one in enumerate(spec["edits"]):
        try:
            edits.append(edit_of(one, resolve))
        except InputError as error:
            raise type(error)(f"edits[{number}]: {error}") from None
    return Steering(edits, _number("strength", spec.get("strength", 1.0)))


def spec_of(steering: Steering, whole: bool = False) -> dict[str, Any]:
    """Return a steering's plain values; `whole`, with vectors and maxima."""
    strength = {} if steering.strength == 1 else {"strength": steering.strength}
    return {**strength, "edits": [spec_of_edit(edit, whole) for edit in steering.edits]}


def edit_of(spec: object, resolve: Resolve) -> Edit:
    """Read an edit's plain values. Raises ConfigError, which names the field."""
    if not isinstance(spec, Mapping):
        raise ConfigError(f'{spec!r} is no edit. Give one such as {{"latent": 17, "add": 2.0}}.')
    if other := [str(key) for key in spec if key not in _FIELDS]:
        raise ConfigError(
            f"An edit has no field {other[0]!r}.{nearest(other[0], _FIELDS)} Its fields are: {', '.join(_FIELDS)}."
        )
    spec = {key: value for key, value in spec.items() if value is not None or key in ("prompt", "generated")}
    where = Where(
        prompt_part(spec.get("prompt", "all")),
        generated_part(spec.get("generated", "all")),
        *(_flag(key, spec.get(key, False)) for key in ("special", "template")),
    )
    unit = unit_of(spec.get("unit", "max" if "latent" in spec else "raw"))
    return Edit(_coordinate(spec, resolve), _move(spec), where, unit)


def spec_of_edit(edit: Edit, whole: bool = False) -> dict[str, Any]:
    """Return an edit's plain values, without those that are as usual."""
    spec = _spec_of_coordinate(edit.coordinate, whole)
    match edit.move:
        case Add(amount):
            spec["add"] = amount
        case Scale(factor):
            spec["scale"] = factor
        case Clamp(low, high, only_active):
            spec["clamp"] = [bound if math.isfinite(bound) else None for bound in (low, high)]
            spec |= {"only_active": True} if only_active else {}
    if not isinstance(edit.move, Scale):
        spec["unit"] = edit.unit
    for field in ("prompt", "generated", "special", "template"):
        value = getattr(edit.where, field)
        if value != getattr(DEFAULT, field):
            spec[field] = list(value) if isinstance(value, tuple) else value
    return spec


def _spec_of_coordinate(coordinate: Coordinate, whole: bool) -> dict[str, Any]:
    if isinstance(coordinate, Latent):
        assert isinstance(coordinate.at, Site)
        spec: dict[str, Any] = {"latent": coordinate.index, "site": coordinate.at.short}
    elif isinstance(coordinate, Head):
        spec = {"head": [coordinate.layer, coordinate.head], "direction": coordinate.name}
    elif isinstance(coordinate, Direction):
        spec = {"direction": coordinate.name, "site": coordinate.site.short}
    else:
        raise ConfigError(f"{coordinate.name} is no latent, direction or head, so it has no plain values.")
    if whole and coordinate.maximum is not None:
        spec["maximum"] = coordinate.maximum
    if whole and isinstance(coordinate, (Head, Direction)):
        spec["vector"] = coordinate.vector.tolist()
    return spec


def _coordinate(spec: Mapping[str, Any], resolve: Resolve) -> Coordinate:
    named = [key for key in _COORDINATES if key in spec]
    if named not in (["latent"], ["direction"], ["direction", "head"]) and not (named == ["head"] and "vector" in spec):
        raise ConfigError(
            'An edit names one of: "latent" (a number), "direction" (a name or file), or "head" ([layer, head]) with a '
            f'"direction". Here is {" and ".join(named) or "none"}.'
        )
    site = Site.parse(_text("site", spec["site"])) if "site" in spec else None
    maximum = _number("maximum", spec["maximum"]) if "maximum" in spec else None
    if "latent" in spec:
        latent = resolve.latent(_index("latent", spec["latent"]), site)
        return latent if maximum is None else Latent(latent.dictionary, latent.index, latent.at, maximum)
    name = _text("direction", spec.get("direction", "head"))
    if "head" in spec:
        pair = spec["head"]
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise ConfigError(f"head = {pair!r} is not valid: give [layer, head].")
        layer, head = (_index("head", one) for one in pair)
        vector = _vector(spec["vector"]) if "vector" in spec else resolve.direction(name, Site(layer, "z")).vector
        return Head(layer, head, vector, name, maximum)
    if "vector" in spec:
        if site is None:
            raise ConfigError(f'The direction {name!r} has a vector: say at which "site" it is.')
        return Direction(site, _vector(spec["vector"]), name, maximum)
    found = resolve.direction(name, site)
    return found if maximum is None else Direction(found.site, found.vector, found.name, maximum)


def _move(spec: Mapping[str, Any]) -> Move:
    named = [key for key in _MOVES if key in spec]
    if len(named) != 1:
        raise ConfigError(f"An edit has one of add, scale and clamp; here is {' and '.join(named) or 'none'}.")
    only_active = _flag("only_active", spec.get("only_active", False))
    if "clamp" not in spec:
        if only_active:
            raise ConfigError("only_active = true goes with clamp only.")
        return Add(_number("add", spec["add"])) if "add" in spec else Scale(_number("scale", spec["scale"]))
    bounds = spec["clamp"]
    if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
        raise ConfigError(f"clamp = {bounds!r} is not valid: give [low, high], null where there is no bound.")
    low, high = (
        none if bound is None else _number("clamp", bound)
        for bound, none in zip(bounds, (-math.inf, math.inf), strict=True)
    )
    return Clamp(low, high, only_active)


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{field} = {value!r} is not valid: give a number.")
    return float(value)


def _index(field: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{field} = {value!r} is not valid: give a whole number, counted from 0.")
    return value


def _flag(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{field} = {value!r} is not valid: give true or false.")
    return value


def _text(field: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{field} = {value!r} is not valid: give a text.")
    return value


def _vector(value: object) -> torch.Tensor:
    if not isinstance(value, Sequence) or isinstance(value, str) or not len(value):
        raise ConfigError("vector is not valid: give a list of numbers.")
    return torch.tensor([_number("vector", one) for one in value])
