"""JSON of figures: what is infinite or not a number is null, for JSON has neither."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from pydantic_core import PydanticSerializationError, to_json


class PlainJSON(JSONResponse):
    """JSON that any value of ours fits in."""

    def render(self, content: Any) -> bytes:
        """Return the content as bytes; signs that UTF-8 can't hold become question marks."""
        try:
            return to_json(content, inf_nan_mode="null")
        except PydanticSerializationError:
            return to_json(_encodable(content), inf_nan_mode="null")


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(one) for key, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, (list, tuple)) else value
