"""The lines of a run's metrics.jsonl, thinned without reading them all: a million lines cost as much as a thousand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

MOST = 1000
"""Lines read at most."""


def read_metrics(path: Path, after: int = 0, most: int = MOST) -> tuple[list[dict[str, Any]], int]:
    """Read the lines behind a place of a metrics file; where there are too many, such as stand at even distances.

    Args:
        after: bytes of the file that are known already.

    Returns:
        The lines, and the place behind the last whole one, to go on from. No lines where there is no file.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if after > size:  # begun anew
                after = 0
            file.seek(after)
            part = file.read(min(size - after, most * 256))
            if after + len(part) >= size:
                end = after + part.rfind(b"\n") + 1
                lines = part.splitlines(keepends=True)
                kept = [line for line in lines if line.endswith(b"\n")]
                if len(kept) > most:
                    kept = [*kept[: -1 : -(-len(kept) // most)], kept[-1]]
                return _parsed(kept), end
            picked = []
            for number in range(most):
                file.seek(after + (size - after) * number // most)
                if number:
                    file.readline()
                picked.append(file.readline())
            file.seek(max(after, size - 65536))
            tail = file.read()
            end = size - len(tail) + tail.rfind(b"\n") + 1
            last = tail[: tail.rfind(b"\n") + 1].splitlines()[-1:]
            return _parsed([*dict.fromkeys(picked), *last]), end
    except FileNotFoundError:
        return [], 0


def _parsed(lines: list[bytes]) -> list[dict[str, Any]]:
    """Return the lines that are JSON; a line that is being written is not."""
    found: list[dict[str, Any]] = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if (
            isinstance(value, dict)
            and {"step", "tokens"} <= value.keys()
            and (not found or value["step"] > found[-1]["step"])
        ):
            found.append(value)
    return found
