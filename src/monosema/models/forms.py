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
        words: True if any string can stand there, too.
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


_PLAIN = {"string": Slot(words=True), "boolean": Slot(("true", "false")), "null": Slot(("null",))}


def form_of(schema: Mapping[str, Any]) -> Form | None:
    """Return the form whose every filling fits the schema; None for a schema that is none.

    Objects, of which all fields are written; arrays of a fixed length; strings; and whatever is one of a few values:
    booleans, null, enumerations, whole numbers between two ends, and unions of these with strings.
    """
    try:
        parts = ["", *_parts(schema), ""]
    except _NoFormError:
        return None
    same = groupby(parts, lambda part: isinstance(part, str))
    texts = ["".join(map(str, some)) for is_text, some in same if is_text]
    return Form(tuple(texts), tuple(part for part in parts if isinstance(part, Slot)))


def _parts(schema: Any) -> list[str | Slot]:
    said = _facts(schema)
    if said.get("type") == "object":
        _require(said, "type", "properties", "required", "additionalProperties")
        fields = said.get("properties", {})
        if not set(said.get("required", ())) <= set(fields):
            raise _NoFormError
        return ["{", *_joined([[f"{_text(name)}: ", *_parts(value)] for name, value in fields.items()]), "}"]
    if said.get("type") == "array":
        _require(said, "type", "items", "minItems", "maxItems")
        count = said.get("minItems")
        if count is None or count != said.get("maxItems"):
            raise _NoFormError
        return ["[", *_joined([_parts(said.get("items")) for _ in range(count)]), "]"]
    return [_slot(said)]


def _joined(items: list[list[str | Slot]]) -> list[str | Slot]:
    return [part for number, item in enumerate(items) for part in ([", "] if number else []) + item]


def _slot(said: dict[str, Any]) -> Slot:
    if "anyOf" in said:
        _require(said, "anyOf")
        slots = [_slot(_facts(one)) for one in said["anyOf"]]
        values = dict.fromkeys(value for slot in slots for value in slot.values)
        return Slot(tuple(values), any(slot.words for slot in slots))
    if "enum" in said or "const" in said:
        _require(said, "type", "enum", "const")
        return Slot(tuple(map(_text, said.get("enum", [said.get("const")]))))
    if said.get("type") == "integer":
        _require(said, "type", "minimum", "maximum")
        low, high = said.get("minimum"), said.get("maximum")
        if not (isinstance(low, int) and isinstance(high, int) and 0 <= high - low < _MOST_NUMBERS):
            raise _NoFormError
        return Slot(tuple(map(str, range(low, high + 1))))
    _require(said, "type")
    if not isinstance(kind := said.get("type"), str) or kind not in _PLAIN:
        raise _NoFormError
    return _PLAIN[kind]


def _facts(schema: Any) -> dict[str, Any]:
    """Return a schema without its notes for people."""
    if not isinstance(schema, Mapping):
        raise _NoFormError
    return {name: value for name, value in schema.items() if name not in _NOTES}


def _require(said: dict[str, Any], *known: str) -> None:
    """Refuse keywords that are not known here: they might ask for what a form does not keep."""
    if not said.keys() <= set(known):
        raise _NoFormError


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
