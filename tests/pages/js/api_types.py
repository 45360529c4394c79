"""Types of the API for the pages' modules, out of the server's own description; run it to write them anew.

python tests/pages/js/api_types.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir
from typing import Any

import monosema.pages

FILE = Path(monosema.pages.__file__).parent / "static" / "api.d.ts"
_PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def types() -> str:
    """Return the shapes of the API as TypeScript."""
    from monosema.server.app import create_app

    schemas = create_app([], jobs=Path(gettempdir()) / "monosema-jobs").openapi()["components"]["schemas"]
    shapes = [_shape(name, schema) for name, schema in sorted(schemas.items())]
    return "// Shapes of the API, made by tests/pages/js/api_types.py; not to be changed by hand.\n\n" + "\n".join(
        shapes
    )


def _shape(name: str, schema: dict[str, Any]) -> str:
    if "properties" not in schema:
        return f"export type {name} = {_type(schema)};\n"
    required = schema.get("required", [])
    lines = [
        f"  {_key(key)}{_maybe(value, key in required)}: {_type(value)};\n"
        for key, value in schema["properties"].items()
    ]
    return f"export interface {name} {{\n{''.join(lines)}}}\n"


def _maybe(schema: dict[str, Any], required: bool) -> str:
    """Return "?" for what may be null and has a default: the report's own objects are without."""
    return "?" if not required and "null" in [one.get("type") for one in schema.get("anyOf", [])] else ""


def _key(key: str) -> str:
    return key if key.isidentifier() else f'"{key}"'


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a value. What an answer may leave out has a default, so it is always there."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        return " | ".join(f'"{value}"' for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    kind = schema.get("type")
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(_type(one) for one in schema['prefixItems'])}]"
    if kind == "array":
        return f"Array<{_type(schema.get('items', {}))}>"
    if kind == "object":
        more = schema.get("additionalProperties", True)
        return f"Record<string, {_type(more) if isinstance(more, dict) else 'any'}>"
    return _PLAIN.get(str(kind), "any")


if __name__ == "__main__":
    FILE.write_text(types(), encoding="utf-8")
