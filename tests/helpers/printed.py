"""JSON that a command has printed."""

from __future__ import annotations

import json
from typing import Any


def parsed(result: tuple[int, str, str]) -> dict[str, Any]:
    """Return the object in the one line of a command that went well, of its exit code, stdout and stderr."""
    code, out, err = result
    assert code == 0, err
    assert out.count("\n") == 1
    values = json.loads(out)
    assert isinstance(values, dict)
    return values
