"""The one thread that runs models: texts that are written are rows of its batches, other work comes in between.

A turn of the thread does some of the work that waits (`call`), takes in requests whose rows have room, and gives every
row of every batch one token. So nobody waits for the end of another's text, and a row that is cancelled has left before
the next token. What a row is given depends on its own prompt, seed and steering alone (see `models.Batch`).
"""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from threading import RLock, Thread
from typing import TYPE_CHECKING, TypeVar, cast

from monosema.server.errors import BusyError

if TYPE_CHECKING:
    from monosema.models import LanguageModel
    from monosema.server.desk import Desk, Request, Writing

T = TypeVar("T")
_END = object()
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A model by name, with how it is loaded when it is first needed."""

    name: str
    load: Callable[[], LanguageModel]


@dataclass(frozen=True)
class Limits:
    """Bounds of the worker.

    Attributes:
        rows: texts that one batch writes at once.
        waiting: requests that may wait for room.
        grace: seconds that a text is written on after its last reader has left.
        models: models that are held at once.
        kept: requests that have ended whose events can still be read.
        turn: seconds that other work may take before the next tokens, if it comes in pieces.
    """

    rows: int = 32
    waiting: int = 64
    grace: float = 5.0
    models: int = 2
    kept: int = 64
    turn: float = 0.02


class Worker:
    """The thread, with the models that it holds and the requests that it knows."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._desks: OrderedDict[str, Desk] = OrderedDict()
        self._waiting: deque[tuple[Desk, Writing]] = deque()
        self._known: OrderedDict[str, Writing] = OrderedDict()
        self._thread: Thread | None = None
        self._lock = RLock()  # not Lock: a collection while it is held may free an iterator, which takes it too
        self._closed = False

    def call(self, source: Source, work: Callable[[LanguageModel], T]) -> T:
        """Run work with a model between two tokens of the texts that are being written, and return what it returns.

        It must leave nothing attached to the model. What takes long should come in pieces: `iterate`.
        """
        return self.submit(source, work).result()

    def submit(self, source: Source, work: Callable[[LanguageModel], T]) -> Future[T]:
        """Return the future of `call`, for who doesn't want to wait."""
        return self._later(lambda: work(self._desk(source).model))

    def _later(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._put(run)
        return future

    def iterate(self, source: Source, work: Callable[[LanguageModel], Iterator[T]]) -> Iterator[T]:
        """Yield what an iterator gives that runs with a model, a piece in each turn; it ends where the caller does.

        Between two pieces it must leave nothing attached to the model.
        """
        pieces = self.call(source, work)
        try:
            while (piece := self.call(source, lambda _: next(pieces, _END))) is not _END:
                yield cast(T, piece)
        finally:
            # Not waited for: a dropped iterator may be freed within the worker's own thread.
            with contextlib.suppress(BusyError):
                self._later(lambda: getattr(pieces, "close", lambda: None)())

    def write(self, source: Source, request: Request) -> Future[Writing]:
        """Let a model write texts; the future has them as soon as they are read and have a place.

        Raises:
            BusyError: too many requests wait already.
            InputError: later, by the future: a prompt or a steering that does not fit the model.
        """
        if len(self._waiting) >= self.limits.waiting:
            raise BusyError(
                f"{len(self._waiting)} requests are waiting already, and no more can. Try again in a while."
            )

        def take(_: LanguageModel) -> Writing:
            desk = self._desk(source)
            writing = desk.read(request)
            self._known[writing.id] = writing
            self._waiting.append((desk, writing))
            self._admit()
            return writing

        return self.submit(source, take)

    def find(self, id: str) -> Writing | None:
        """Return a request that goes on, or ended not long ago."""
        return self._known.get(id)

    def close(self) -> None:
        """End all texts, and the thread."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._work.put(None)
            thread.join()

    def _put(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._closed:
                raise BusyError("The server is being stopped.")
            if self._thread is None:
                self._thread = Thread(target=self._run, name="worker", daemon=True)
                self._thread.start()
            self._work.put(work)  # within the lock: nothing comes behind what ends the thread

    def _desk(self, source: Source) -> Desk:
        """Return the model's desk; of those that write nothing, the one unused for longest makes room for another."""
        if source.name not in self._desks:
            from monosema.server.desk import Desk

            idle = [name for name, desk in self._desks.items() if not desk.writings]
            needed = [desk for desk, _ in self._waiting]
            for name in [name for name in idle if self._desks[name] not in needed][: self._spare()]:
                del self._desks[name]
            self._desks[source.name] = Desk(source.load(), self.limits.grace)
        self._desks.move_to_end(source.name)
        return self._desks[source.name]

    def _spare(self) -> int:
        return max(0, len(self._desks) + 1 - self.limits.models)

    def _run(self) -> None:
        while self._turn():
            pass
        for _, writing in self._waiting:
            writing.end("cancelled")
        for desk in self._desks.values():
            for writing in desk.writings:
                writing.end("cancelled")

    def _turn(self) -> bool:
        """Do one turn; returns False when the thread is to end."""
        busy = bool(self._waiting) or any(desk.writings for desk in self._desks.values())
        until = time.monotonic() + self.limits.turn
        try:
            while True:
                work = self._work.get(block=not busy)
                if work is None:
                    return False
                work()
                busy = True
                if time.monotonic() >= until:
                    break
        except queue.Empty:
            pass
        self._admit()
        for desk in self._desks.values():
            try:
                desk.step()
            except Exception:
                # A fault of ours: the texts at hand are lost, the thread lives on.
                _log.exception("A step of the worker failed")
                desk.fail("The server met an error of its own; its log says more.")
        return True

    def _admit(self) -> None:
        """Move requests from the queue into their batches, in order, as far as there is room; tell the rest their
        places."""
        for entry in list(self._waiting):
            if entry[1].unwanted(self.limits.grace):
                self._waiting.remove(entry)
                entry[1].end("cancelled")
        while self._waiting:
            desk, writing = self._waiting[0]
            rows = len(desk.rows)
            if rows and rows + len(writing.rows) > self.limits.rows:
                break
            self._waiting.popleft()
            desk.join(writing)
        for place, (_, writing) in enumerate(self._waiting, start=1):
            writing.tell_place(place)
        ended = [id for id, writing in self._known.items() if writing.stream.closed]
        for id in ended[: max(0, len(ended) - self.limits.kept)]:
            del self._known[id]
