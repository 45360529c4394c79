"""Server-sent events as tests read them."""

from __future__ import annotations

import json
from typing import Any


def sent_events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of a stream: name and data."""
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
    return [(block["event"], json.loads(block["data"])) for block in blocks]
