"""Steerings as the app is asked for them: the JSON form of `Steering`, with directions that are made on the way.

Besides its name, the direction of an edit may say how it is made, of examples or at random:

    {"direction": {"name": "joy", "positive": ["I loved it."], "negative": ["I hated it."]}, "add": 1}
    {"direction": {"name": "random direction", "random": 0}, "add": 0.3, "unit": "norm"}
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from pydantic import Field, ValidationError

from monosema.core import InputError, MonosemaError, Site
from monosema.models import LanguageModel
from monosema.server.errors import UnreadableError
from monosema.server.library import ServedRun
from monosema.server.text import Asking, Words
from monosema.steering import Direction, Resolver, Steering, mean_difference, random_direction, read_directions

KEPT = 64
"""Directions that are kept once made."""


class Made(Asking):
    """A direction to be made: the mean difference of examples, or a random one of this seed."""

    name: str = Field("direction", min_length=1, max_length=80)
    site: str | None = Field(None, max_length=80)
    positive: list[Words] = Field(default_factory=list, max_length=256)
    negative: list[Words] = Field(default_factory=list, max_length=256)
    random: int | None = Field(None, ge=0, lt=2**31)


def steering_of(run: ServedRun, model: LanguageModel, spec: Mapping[str, Any]) -> Steering:
    """Return the steering that a request describes.

    Raises:
        InputError: no such latent or direction, or a value that is not valid; the message names it.
    """
    made: dict[str, Direction] = {}
    edits = spec.get("edits")
    if isinstance(edits, list):
        spec = {**spec, "edits": [_with_name(run, model, edit, made) for edit in edits]}
    site = _site(run)
    files = sorted((run.folder / "directions").glob("*"))
    named = [direction for file in files for direction in read_directions(file)]
    resolver = Resolver({site: run.dictionary}, {site: _maximum(run)}, [*named, *made.values()], files=False)
    return Steering.from_dict(spec, resolver)


def _with_name(run: ServedRun, model: LanguageModel, edit: Any, made: dict[str, Direction]) -> Any:
    """Return an edit whose direction, if it is to be made, is made and named."""
    if not isinstance(edit, Mapping) or not isinstance(edit.get("direction"), Mapping):
        return edit
    try:
        asked = Made.model_validate(edit["direction"])
    except ValidationError as error:
        raise UnreadableError(error.errors(), "direction") from None
    direction = _direction(run, model, asked)
    name = f"{direction.name} ({len(made) + 1})" if made else direction.name
    made[name] = Direction(direction.site, direction.vector, name, direction.maximum)
    return {**edit, "direction": name}


_made: OrderedDict[str, Direction] = OrderedDict()
_lock = Lock()


def _direction(run: ServedRun, model: LanguageModel, asked: Made) -> Direction:
    """Make a direction, at the dictionary's site unless it says another; once made, it is kept."""
    site = _site(run) if asked.site is None else Site.parse(asked.site)
    key = json.dumps([model.name, site.short, asked.model_dump()], sort_keys=True)
    with _lock:
        if key in _made:
            return _made[key]
    if asked.random is not None:
        vector = random_direction(model, site, asked.random).vector
        made = Direction(site, vector, asked.name)
    else:
        made = mean_difference(model, site, asked.positive, asked.negative, name=asked.name)
    with _lock:
        _made[key] = made
        while len(_made) > KEPT:
            _made.popitem(last=False)
    return made


def _site(run: ServedRun) -> Site:
    site = run.dictionary.metadata.site
    if site is None:
        raise InputError("The run's dictionary does not say its site, so nothing can be steered with it.")
    return site


def _maximum(run: ServedRun) -> Callable[[int], float | None]:
    """Return the maxima of the run's atlas; of a run without one, of no latent."""

    def maximum(latent: int) -> float | None:
        try:
            tables = run.described.tables
            return tables.brief(tables.row_of(latent))["max"] or None
        except MonosemaError:
            return None

    return maximum
