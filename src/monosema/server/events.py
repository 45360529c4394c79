"""Numbered events of work that goes on: kept, so that a reader may come late, or come back after a reload.

An event goes out as a server-sent event whose id is its number; a reader that comes back names the last one it has seen
(the browser's Last-Event-ID). Events are added by any thread, and read in the server's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from threading import Lock
from typing import Annotated, Any

from fastapi import Header, Query
from sse_starlette import EventSourceResponse

SEND_WITHIN = 20.0
"""Seconds that a reader may leave unread what was sent; then it is taken to be gone."""
PACE = 1 / 60
"""Seconds between two pieces that one reader is sent."""
LONGEST_ID = 20


class Stream:
    """The events of one piece of work, in order, numbered from 1.

    Attributes:
        closed: True when no more will come.
    """

    def __init__(self) -> None:
        self.closed = False
        self._events: list[bytes] = []
        self._wake: set[Callable[[], None]] = set()
        self._readers = 0
        self._lock = Lock()
        self._left = time.monotonic()

    def __len__(self) -> int:
        return len(self._events)

    def add(self, kind: str, data: Mapping[str, Any]) -> None:
        """Add an event, for all readers."""
        self._events.append(encode(len(self._events) + 1, kind, data))
        self._tell()

    def close(self) -> None:
        """Say that no more will come."""
        self.closed = True
        self._tell()

    @property
    def unread(self) -> float:
        """Seconds since the last reader left, or since it was made; 0 while there is one."""
        return 0.0 if self._readers else time.monotonic() - self._left

    def _tell(self) -> None:
        if self._wake:
            with self._lock:
                while self._wake:
                    self._wake.pop()()

    async def read(self, after: int = 0) -> AsyncIterator[bytes]:
        """Yield all events behind number `after`, those that come later too.

        The first goes out at once; those that come within a moment of it (`PACE`) go out together, since each piece
        costs the server as much as a token of a small model.
        """
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # The loop is gone, and the reader with it.
                loop.call_soon_threadsafe(ready.set)

        with self._lock:
            self._readers += 1
        try:
            while True:
                closed, new = self.closed, self._events[after:]
                if new:
                    after += len(new)
                    yield b"".join(new)
                    if not self.closed:
                        await asyncio.sleep(PACE)
                elif closed:
                    return
                else:
                    ready.clear()
                    with self._lock:
                        self._wake.add(wake)
                    if len(self._events) == after and not self.closed:
                        await ready.wait()
        finally:
            with self._lock:
                self._wake.discard(wake)
                self._readers -= 1
                self._left = time.monotonic()


def encode(number: int, kind: str, data: Mapping[str, Any]) -> bytes:
    """Return an event as it is sent."""
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode("ascii")


def send(events: AsyncIterator[bytes]) -> EventSourceResponse:
    """Answer with events as they come; a connection that takes none of them for long is closed."""
    return EventSourceResponse(events, sep="\n", send_timeout=SEND_WITHIN)


def seen_number(
    last_event_id: Annotated[str, Header(description="Number of the last event that was seen.")] = "",
    after: Annotated[int, Query(ge=0, le=2**53, description="The same, for who can't set the header.")] = 0,
) -> int:
    """Return the number of the last event that a reader has seen, 0 for none: a dependency of routes."""
    known = last_event_id[:LONGEST_ID]
    return int(known) if known.isascii() and known.isdigit() else after
