"""Replies as data: reading a text as JSON and holding it against the schema that was asked for."""

from __future__ import annotations

import json
import re
from typing import Any

from monosema.llm.protocol import Failure, Reply, Request

_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)


def checked(reply: Reply, request: Request) -> Reply:
    """The reply with its text parsed and checked, or with the failure that it is.

    A text without a schema fails only when it is empty. A code fence around the JSON is taken off, as small local
    models put one there; nothing else is repaired.
    """
    if reply.failure is not None:
        return reply
    if request.response_schema is None:
        return reply if reply.text.strip() else _failed(reply, "the reply is empty")
    fence = _FENCE.fullmatch(reply.text)
    try:
        value = json.loads(fence[1] if fence else reply.text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return _failed(reply, f"the reply is not JSON: {error}")
    problem = _violation(value, request.response_schema)
    return reply.replace(parsed=value) if problem is None else _failed(reply, problem)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _failed(reply: Reply, detail: str) -> Reply:
    if reply.finish == "length":
        detail = f"the reply ended at the token limit; raise max_tokens ({detail})"
    kind = "truncated" if reply.finish == "length" else "malformed"
    return reply.replace(failure=Failure(kind=kind, detail=detail, text=reply.text))


def _violation(value: Any, schema: dict[str, Any]) -> str | None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(schema).iter_errors(value))
    if error is None:
        return None
    return f"the reply does not fit the schema: {_shortened(error.message)} (at {error.json_path})"


def _shortened(message: str, most: int = 300) -> str:
    return message if len(message) <= most else f"{message[: most // 2]} … {message[-most // 2 :]}"


def is_strict(schema: Any) -> bool:
    """Return True if every object in the schema names all its fields as required and allows no others.

    That is what OpenAI's strict mode, in which the model can't leave the schema, demands.
    """
    if isinstance(schema, list):
        return all(map(is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" and (
        schema.get("additionalProperties") is not False
        or set(schema.get("required", ())) != set(schema.get("properties", {}))
    ):
        return False
    return all(map(is_strict, schema.values()))
