"""Schemas as forms: whatever stands in the slots, the whole fits the schema."""

from __future__ import annotations

import json
import string
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monosema.interpretation import prompts
from monosema.models.forms import Form, form_of

NAMES = st.text(string.ascii_letters + ' "\\é', max_size=5)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), NAMES)
PLAIN = st.one_of(
    st.sampled_from([{"type": kind} for kind in ("string", "boolean", "null")]),
    st.lists(VALUES, min_size=1, max_size=3, unique_by=json.dumps).map(lambda values: {"enum": values}),
    VALUES.map(lambda value: {"const": value, "description": "as it is"}),
    st.integers(-20, 20).flatmap(
        lambda low: st.integers(0, 9).map(lambda more: {"type": "integer", "minimum": low, "maximum": low + more})
    ),
)


def objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def made(fields: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}

    return st.dictionaries(NAMES, values, max_size=3).map(made)


def arrays(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda items, count: {"type": "array", "items": items, "minItems": count, "maxItems": count},
        values,
        st.integers(0, 3),
    )


SCHEMAS = st.recursive(
    PLAIN | st.lists(PLAIN, min_size=1, max_size=3).map(lambda several: {"anyOf": several}),
    lambda inner: objects(inner) | arrays(inner),
    max_leaves=6,
)


def filled(form: Form, data: st.DataObject) -> str:
    text = form.texts[0]
    for slot, after in zip(form.slots, form.texts[1:], strict=True):
        words = data.draw(st.text(max_size=5).map(json.dumps)) if slot.words else ""
        text += data.draw(st.sampled_from([*slot.values, *[words] * slot.words])) + after
    return text


@given(SCHEMAS, st.data())
def test_every_filling_fits(schema: dict[str, Any], data: st.DataObject) -> None:
    form = form_of(schema)
    assert form is not None
    jsonschema.validate(json.loads(filled(form, data)), schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string", "maxLength": 3},
        {"type": "integer"},
        {"type": "array", "items": {"type": "null"}},
        {"type": ["string", "null"]},
        {"type": "object", "minProperties": 1},
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "required": ["a"]},
        {"anyOf": [{"type": "string"}, {"type": "object"}]},
    ],
)
def test_what_a_form_could_break_is_none(schema: dict[str, Any]) -> None:
    assert form_of(schema) is None


@pytest.mark.parametrize("schema", [prompts.EXPLANATION_SCHEMA, prompts.judgement_schema(5), prompts.choice_schema(12)])
def test_all_that_is_asked_of_models_is_a_form(schema: dict[str, Any]) -> None:
    assert form_of(schema) is not None
