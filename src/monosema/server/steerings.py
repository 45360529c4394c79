"""Steerings as the app is asked for them: the JSON form of `Steering`, with directions that are made on the way.

Besides what a file may say, the direction of an edit may be made of examples or at random:

    {"direction": {"name": "joy", "positive": ["I loved it."], "negative": ["I hated it."]}, "add": 1}
    {"direction": {"name": "random direction", "random": 0}, "add": 0.3, "unit": "norm"}
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import torch

from monosema.core import InputError, MonosemaError
from monosema.models import LanguageModel
from monosema.server.library import ServedRun
from monosema.steering import Add, Clamp, Direction, Edit, Latent, Scale, Steering, Where

KEPT, TEXTS = 64, 256
"""Directions that are kept once made, and texts that one may be made of."""


def steering_of(run: ServedRun, model: LanguageModel, spec: Mapping[str, Any]) -> Steering:
    """Return the steering that a request describes.

    Raises:
        InputError: no such latent or direction, or a value that is not valid; the message names it.
    """
    edits = spec.get("edits")
    if not isinstance(edits, Sequence) or isinstance(edits, str):
        raise InputError('A steering is {"edits": [...]}: a list of edits.')
    return Steering([_edit(run, model, edit) for edit in edits], spec.get("strength", 1.0))


def _edit(run: ServedRun, model: LanguageModel, edit: Mapping[str, Any]) -> Edit:
    if "latent" in edit:
        coordinate: Any = Latent(run.dictionary, edit["latent"], maximum=_maximum(run, edit["latent"]))
    else:
        coordinate = _direction(run, model, edit["direction"])
    if "add" in edit:
        move: Any = Add(edit["add"])
    elif "scale" in edit:
        move = Scale(edit["scale"])
    else:
        low, high = edit["clamp"]
        move = Clamp(-float("inf") if low is None else low, float("inf") if high is None else high)
    part: dict[str, Any] = {
        key: tuple(value) if isinstance(value := edit[key], list) else value for key in _PARTS if key in edit
    }
    where = Where(**part)
    return Edit(coordinate, move, where, edit.get("unit", "raw"))


_PARTS = ("prompt", "generated", "special", "template")


def _maximum(run: ServedRun, latent: int) -> float | None:
    try:
        tables = run.described.tables
        return tables.brief(tables.row_of(latent))["max"] or None
    except MonosemaError:
        return None


_made: OrderedDict[str, Direction] = OrderedDict()
_lock = Lock()


def _direction(run: ServedRun, model: LanguageModel, asked: Mapping[str, Any]) -> Direction:
    """Return a direction at the dictionary's site; once made, it is kept."""
    site = run.dictionary.metadata.site
    if site is None:
        raise InputError("The run's dictionary does not say its site, so no direction can be made there.")
    key = json.dumps([run.name, run.changed, model.name, asked], sort_keys=True)
    with _lock:
        if key in _made:
            return _made[key]
    name = str(asked.get("name") or "direction")[:80]
    generator = torch.Generator().manual_seed(int(asked.get("random", 0)))
    made = Direction(site, torch.randn(run.dictionary.d_out, generator=generator), name)
    with _lock:
        _made[key] = made
        while len(_made) > KEPT:
            _made.popitem(last=False)
    return made
