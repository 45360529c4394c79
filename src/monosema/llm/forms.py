"""Schemas as forms: text that stands, and slots that a model fills in.

A model that fills in a form can't leave its schema, however small it is. ``{"active": [true, false]}`` under the schema
of two booleans is the text ``{"active": [``, a slot of two values, the text ``, ``, another such slot, and ``]}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

_NOTES = frozenset({"title", "description", "default", "examples", "$schema"})
_MOST_NUMBERS = 100


@dataclass(frozen=True)
class Slot:
    """Place of one value.

    Attributes:
        values: texts of values that can stand there, as JSON.
        words: whether any string can stand there, too.
    """

    values: tuple[str, ...] = ()
    words: bool = False


@dataclass(frozen=True)
class Form:
    """Texts that stand, with slots between them.

    Attributes:
        texts: one more than there are slots; they may be empty.
        slots: each stands between two texts.
    """

    texts: tuple[str, ...]
    slots: tuple[Slot, ...]


class _NoFormError(Exception):
    pass


def form_of(schema: Mapping[str, Any]) -> Form | None:
    """The form whose every filling fits the schema; None for a schema that is none.

    Objects, of which all fields are written; arrays of a fixed length; strings; and whatever is one of a few values:
    booleans, null, enumerations, whole numbers between two ends, and unions of these with strings.
    """
    try:
        parts = ["", *_parts(schema), ""]
    except _NoFormError:
        return None
    texts = ["".join(map(str, same)) for is_text, same in groupby(parts, _is_text) if is_text]
    return Form(tuple(texts), tuple(part for part in parts if isinstance(part, Slot)))


def _is_text(part: str | Slot) -> bool:
    return isinstance(part, str)


def _parts(schema: Any) -> list[str | Slot]:
    if not isinstance(schema, Mapping):
        raise _NoFormError
    said = {name: value for name, value in schema.items() if name not in _NOTES}
    if said.get("type") == "object":
        return _object(said)
    if said.get("type") == "array":
        return _array(said)
    return [_slot(said)]


def _object(said: dict[str, Any]) -> list[str | Slot]:
    _require(said, "type", "properties", "required", "additionalProperties")
    fields = said.get("properties", {})
    if not set(said.get("required", ())) <= set(fields):
        raise _NoFormError
    parts: list[str | Slot] = ["{"]
    for number, (name, value) in enumerate(fields.items()):
        parts += [f"{', ' if number else ''}{_text(name)}: ", *_parts(value)]
    return [*parts, "}"]


def _array(said: dict[str, Any]) -> list[str | Slot]:
    _require(said, "type", "items", "minItems", "maxItems")
    count = said.get("minItems")
    if count is None or count != said.get("maxItems"):
        raise _NoFormError
    parts: list[str | Slot] = ["["]
    for number in range(count):
        parts += [", "] * (number > 0) + _parts(said.get("items"))
    return [*parts, "]"]


def _slot(said: dict[str, Any]) -> Slot:
    if "anyOf" in said:
        _require(said, "anyOf")
        slots = [_slot({k: v for k, v in one.items() if k not in _NOTES}) for one in said["anyOf"]]
        values = dict.fromkeys(value for slot in slots for value in slot.values)
        return Slot(tuple(values), any(slot.words for slot in slots))
    if "enum" in said or "const" in said:
        _require(said, "type", "enum", "const")
        return Slot(tuple(map(_text, said.get("enum", [said.get("const")]))))
    return _slot_of_type(said)


def _slot_of_type(said: dict[str, Any]) -> Slot:
    if said.get("type") == "integer":
        _require(said, "type", "minimum", "maximum")
        low, high = said.get("minimum"), said.get("maximum")
        if not (isinstance(low, int) and isinstance(high, int) and 0 <= high - low < _MOST_NUMBERS):
            raise _NoFormError
        return Slot(tuple(map(str, range(low, high + 1))))
    _require(said, "type")
    plain = {"string": Slot(words=True), "boolean": Slot(("true", "false")), "null": Slot(("null",))}
    if not isinstance(kind := said.get("type"), str) or kind not in plain:
        raise _NoFormError
    return plain[kind]


def _require(said: dict[str, Any], *known: str) -> None:
    """A keyword that is not known here might ask for what a form does not keep."""
    if not said.keys() <= set(known):
        raise _NoFormError


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
