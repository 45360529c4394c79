"""Metrics of a run that is trained, line by line."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from monosema.server.routes.live import _follow


class Training:
    """A run that is being trained."""

    def __init__(self, path: Path) -> None:
        self.metrics_path = path
        self.live = True


def test_lines_are_told_as_they_are_written_and_from_where_a_reader_stopped(tmp_path: Path) -> None:
    run: Any = Training(tmp_path / "metrics.jsonl")
    lags: list[float] = []
    blocks: list[bytes] = []

    async def write() -> None:
        for step in range(1, 4):
            await asyncio.sleep(0.05)
            with open(run.metrics_path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "tokens": 10 * step, "at": time.monotonic()}) + "\n")
            await asyncio.sleep(0.3)
        run.live = False

    async def read(place: int) -> None:
        async for part in _follow(run, place):
            for block in part.decode().strip().split("\n\n"):
                blocks.append(block.encode())
                data = json.loads(block.split("data: ")[1])
                if "at" in data:
                    lags.append(time.monotonic() - data["at"])

    async def both() -> None:
        await asyncio.gather(write(), read(0))

    asyncio.run(both())
    assert [block.split(b"\n")[1] for block in blocks] == [b"event: metrics"] * 3 + [b"event: end"]
    assert max(lags) < 1
    place = int(blocks[1].split(b"\n")[0].removeprefix(b"id: "))
    blocks.clear()
    asyncio.run(read(place))
    assert [block.split(b"\n")[1] for block in blocks] == [b"event: metrics", b"event: end"]
