"""A run while it is trained: lines of its metrics as they are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from monosema.server.events import encode, seen_number, send
from monosema.server.library import ServedRun
from monosema.server.metrics import read_metrics
from monosema.server.state import OfRun

router = APIRouter(prefix="/api/runs", tags=["runs"])
BETWEEN = 0.25
"""Seconds between two looks at the file."""


@router.get("/{run}/metrics/events", response_class=EventSourceResponse)
async def metrics_events(run: OfRun, seen: Annotated[int, Depends(seen_number)]) -> EventSourceResponse:
    """Follow the lines of training: `metrics` (one line), and `end` once nobody trains.

    An event's id is the place in the file behind it, such as `next` of the lines that were read at once.
    """
    return send(_follow(run, seen))


async def _follow(run: ServedRun, place: int) -> AsyncIterator[bytes]:
    while True:
        live = await run_in_threadpool(lambda: run.live)
        lines, place = await run_in_threadpool(read_metrics, run.metrics_path, place)
        if lines:
            yield b"".join(encode(place, "metrics", line) for line in lines)
        elif not live:
            yield encode(place, "end", {})
            return
        await asyncio.sleep(BETWEEN)
