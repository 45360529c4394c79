"""Long work that outlives its reader, and can be taken up again after a kill: one folder for each job.

    ID/job.json       what was asked, its state, progress and error; written whole, or not at all
    ID/events.jsonl   what happened, a line for each event
    ID/kept/*.json    what is finished of it
    ID/result.json    what it gave

waiting → running → done | failed | cancelled; interrupted where the server ended before it. What a kind of work does is
a function that is registered under its name (`register_kind`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event, Lock, RLock
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ValidationError

from monosema.core import InputError, MonosemaError, RunError, nearest, read_json, write_json
from monosema.server.errors import BusyError, NotFoundError, UnreadableError
from monosema.server.events import Stream

if TYPE_CHECKING:
    from monosema.server.state import Serving

State = Literal["waiting", "running", "done", "failed", "cancelled", "interrupted"]
LIVE: tuple[State, ...] = ("waiting", "running")
AT_ONCE = 2
"""Jobs that run at the same time."""
MOST_WAITING = 16
BETWEEN = 0.25
"""Seconds between two events of progress."""
_log = logging.getLogger(__name__)


class Cancelled(Exception):  # noqa: N818
    """The job was cancelled, or the server is being stopped."""


@dataclass(frozen=True)
class Record:
    """A job as job.json has it.

    Attributes:
        id: its name in addresses.
        kind: what kind of work it is.
        title: what it is called for people.
        request: what was asked for.
        created, started, ended: seconds since 1970.
        done, total, said: how far it is.
        error: why it failed.
        process: id of the process that works on it, and when that was started.
    """

    id: str
    kind: str
    title: str
    request: dict[str, Any]
    state: State = "waiting"
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    done: int | float = 0
    total: int | float | None = None
    said: str = ""
    error: str | None = None
    process: Sequence[int | float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Kind:
    """A kind of work.

    Attributes:
        request: the shape of what is asked for.
        title: gives what a job of it is called.
        work: does it, on a thread of its own; returns the result.
        check: raises MonosemaError, before a job is made, for what can't be done.
    """

    request: type[BaseModel]
    title: Callable[[Any], str]
    work: Callable[[Task, Serving], Mapping[str, Any]]
    check: Callable[[Any, Serving], None] = lambda request, served: None


KINDS: dict[str, Kind] = {}


def register_kind(name: str, kind: Kind) -> None:
    """Make a kind of work known; ``POST /api/jobs`` with this name then makes jobs of it."""
    KINDS[name] = kind


class Task:
    """A job as its work sees it.

    Attributes:
        request: what was asked for, in the shape of the kind.
        folder: of the job, for files of its own.
        unwanted: is set once the work is to end.
    """

    def __init__(self, job: Job, request: Any) -> None:
        self.request, self.folder, self.unwanted = request, job.folder, job.unwanted
        self._job = job
        self._told = 0.0

    def check(self) -> None:
        """Raise `Cancelled` where the work is to end; call it often."""
        if self.unwanted.is_set():
            raise Cancelled

    def progress(self, done: int | float, total: int | float | None = None, said: str = "") -> None:
        """Tell how far the work is; raises `Cancelled` as `check` does."""
        self.check()
        now = time.monotonic()
        if now - self._told >= BETWEEN or (total is not None and done >= total):
            self._told = now
            self._job.change("progress", done=done, total=total, said=said)

    def log(self, line: str) -> None:
        """Tell a line for people."""
        self._job.tell("log", {"line": line})

    def own(self, pid: int) -> None:
        """Note the process that works on it, so that a later server can end it."""
        self._job.change(None, process=(pid, _started(pid)))

    def kept(self) -> dict[str, Any]:
        """Return what was kept by name, by an earlier process too."""
        return {path.stem: read_json(path) for path in sorted((self.folder / "kept").glob("*.json"))}

    def keep(self, name: str, data: Any) -> None:
        """Keep a part that is finished, atomically."""
        (self.folder / "kept").mkdir(exist_ok=True)
        write_json(self.folder / "kept" / f"{name}.json", data)


class Job:
    """A job: its record, its events, and the flag that ends it.

    Attributes:
        folder: where it is.
        stream: its events.
        unwanted: is set once it is to end.
        stopping: True if it is to end because the server does.
    """

    def __init__(self, record: Record, folder: Path) -> None:
        self._record, self.folder = record, folder
        self.unwanted, self.stopping = Event(), False
        self.stream = Stream()
        self._lock = RLock()
        self._file = folder / "events.jsonl"
        for kind, data in _lines(self._file):
            self.stream.add(kind, data)

    @property
    def record(self) -> Record:
        """The record as it is on disk; while a change is made and told, that is waited for."""
        with self._lock:
            return self._record

    @property
    def live(self) -> bool:
        """True while it waits or runs."""
        return self.record.state in LIVE

    def change(self, told: str | None, **values: Any) -> None:
        """Change its record, on disk first, and tell of it by an event of this kind."""
        with self._lock:
            record = replace(self._record, **values)
            write_json(self.folder / "job.json", record.to_dict())
            self._record = record
            if told is not None:
                self.tell(told, record.to_dict() if told == "state" else values)
            if record.state not in LIVE:
                self.stream.close()

    def tell(self, kind: str, data: Mapping[str, Any]) -> None:
        """Add an event."""
        with self._lock:
            with open(self._file, "a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "data": data}) + "\n")
            self.stream.add(kind, data)

    def reopen(self) -> None:
        """Make it ready to run again; its events go on."""
        events, self.stream = list(_lines(self._file)), Stream()
        for kind, data in events:
            self.stream.add(kind, data)
        self.unwanted.clear()


class Jobs:
    """All jobs of a folder, and the threads that work on them."""

    def __init__(self, folder: Path) -> None:
        """`folder`: is made when there is a first job. Jobs in it that nobody works on any more are interrupted."""
        self.folder = folder
        self._lock = Lock()
        self._jobs: dict[str, Job] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="job")
        for path in sorted(folder.glob("*/job.json")):
            with contextlib.suppress(MonosemaError, TypeError):
                job = Job(Record(**read_json(path)), path.parent)
                if job.live:
                    _interrupt(job.record)
                    job.change("state", state="interrupted", ended=time.time())
                job.stream.close()
                self._jobs[job.record.id] = job

    def all(self) -> list[Job]:
        """All jobs, the newest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: -job.record.created)

    def __getitem__(self, id: str) -> Job:
        """Return a job. Raises NotFoundError."""
        job = self._jobs.get(id)
        if job is None:
            raise NotFoundError(f"There is no job {id[:20]!r}; GET /api/jobs lists those that there are.")
        return job

    def start(self, kind: str, asked: Mapping[str, Any], served: Serving) -> Job:
        """Begin a job.

        Raises:
            InputError: no such kind, or a request that does not fit it.
            BusyError: too many wait already.
        """
        if kind not in KINDS:
            raise InputError(f"There is no kind of job {kind!r}.{nearest(kind, KINDS)} There is: {', '.join(KINDS)}.")
        request = _read(kind, asked)
        KINDS[kind].check(request, served)
        with self._lock:
            waiting = sum(job.record.state == "waiting" for job in self._jobs.values())
            if waiting >= MOST_WAITING:
                raise BusyError(f"{waiting} jobs are waiting already. Cancel one, or try again in a while.")
            id = uuid.uuid4().hex[:12]
            folder = self.folder / id
            folder.mkdir(parents=True)
            record = Record(id, kind, KINDS[kind].title(request), request.model_dump(mode="json"))
            job = self._jobs[id] = Job(record, folder)
        job.change("state")
        self._pool.submit(self._work, job, served)
        return job

    def resume(self, id: str, served: Serving) -> Job:
        """Take up a job that has ended before it was done. Raises RunError for one that goes on or is done."""
        with self._lock:
            job = self[id]
            if job.live or job.record.state == "done":
                raise RunError(f"The job is {job.record.state}: there is nothing to take up again.")
            job.reopen()
            job.change("state", state="waiting", error=None, ended=None)
        self._pool.submit(self._work, job, served)
        return job

    def cancel(self, id: str) -> None:
        """Let a job end; of one that has ended, remove all."""
        with self._lock:
            job = self[id]
            if job.live:
                job.unwanted.set()
                return
            del self._jobs[id]
        shutil.rmtree(job.folder, ignore_errors=True)

    def result(self, id: str) -> Any:
        """Return what a job gave. Raises RunError where it isn't done."""
        job = self[id]
        if job.record.state != "done":
            raise RunError(f"The job is {job.record.state}, and has no result.")
        return read_json(job.folder / "result.json")

    def close(self) -> None:
        """Interrupt all jobs, and wait for them; they can be resumed."""
        for job in self.all():
            job.stopping = True
            job.unwanted.set()
        self._pool.shutdown(cancel_futures=False)

    def _work(self, job: Job, served: Serving) -> None:
        state: State = "done"
        error: str | None = None
        try:
            if job.unwanted.is_set():
                raise Cancelled
            _interrupt(job.record, wait=True)
            job.change("state", state="running", started=time.time(), process=None)
            request = _read(job.record.kind, job.record.request)
            result = KINDS[job.record.kind].work(Task(job, request), served)
            write_json(job.folder / "result.json", dict(result))
        except Cancelled:
            state = "interrupted" if job.stopping else "cancelled"
        except MonosemaError as failure:
            state, error = "failed", str(failure)
        except Exception as failure:
            _log.exception("A job failed")
            state, error = "failed", f"It failed: {type(failure).__name__}: {failure}"
        job.change("state", state=state, error=error, ended=time.time(), process=None)


def _read(kind: str, asked: Mapping[str, Any]) -> BaseModel:
    try:
        return KINDS[kind].request.model_validate(asked)
    except ValidationError as error:
        raise UnreadableError(error.errors(), "body") from None


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of a file; a last line that a kill has cut is taken off it."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with open(path, "rb+") as file:
            file.truncate(len(whole))
    for line in whole.splitlines():
        with contextlib.suppress(ValueError, KeyError):
            event = json.loads(line)
            yield event["kind"], event["data"]


def _started(pid: int) -> float:
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def _interrupt(record: Record, wait: bool = False) -> None:
    """Ask the process of an earlier server to end, if it is still there; with `wait`, see that it does."""
    import signal

    import psutil

    if record.process is None:
        return
    pid, started = int(record.process[0]), record.process[1]
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.create_time() != started:
            return
        process.send_signal(signal.SIGINT)
        if wait:
            try:
                process.wait(30)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(10)
