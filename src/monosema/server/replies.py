"""JSON of figures: what is infinite or not a number is null, for JSON has neither."""

from __future__ import annotations

import json
import math
from typing import Any

from fastapi.responses import JSONResponse


class PlainJSON(JSONResponse):
    """JSON that any value of ours fits in."""

    def render(self, content: Any) -> bytes:
        """Return the content as bytes; signs that UTF-8 can't hold become question marks."""
        try:
            text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except ValueError:
            text = json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value
