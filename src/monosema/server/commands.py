"""Jobs that are commands: `monosema run`, `evaluate`, `explain` and `report` of a run, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from monosema.core import RunError
from monosema.server.jobs import Cancelled, Kind, Task, register_kind
from monosema.server.text import Asking

if TYPE_CHECKING:
    from monosema.server.state import Serving

# A process that a shell puts into the background ignores SIGINT, and so would its children.
_BEGIN = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from monosema.cli import main; sys.exit(main())"
)
_SHARE = re.compile(r"^(?P<name>[^:]{1,40}): (?P<percent>\d+)%")
PATIENCE = 30.0
"""Seconds that a process has to write a checkpoint before it is killed."""


class OfRun(Asking):
    """Work on a run.

    Attributes:
        run: its name.
        language: of what the log says.
    """

    run: str
    language: Literal["en", "ko"] = "en"


def run_command(verb: str, task: Task, served: Serving) -> Mapping[str, Any]:
    """Run a command on a run's folder, and tell what it says; a cancelled one writes a checkpoint first.

    Raises:
        Cancelled: it was cancelled.
        RunError: it failed; the error has its last words.
    """
    folder = served.library[task.request.run].folder
    log = task.folder / "log.txt"
    environment = {
        **os.environ,
        "MONOSEMA_LOG_SECONDS": "1",
        "MONOSEMA_LANGUAGE": task.request.language,
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    environment.pop("MONOSEMA_QUIET", None)
    begun = log.stat().st_size if log.exists() else 0
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _BEGIN, verb, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
    task.own(process.pid)
    said = _Log(log, begun)
    try:
        while process.poll() is None:
            if task.unwanted.wait(0.2):
                raise Cancelled
            said.follow(task)
    except BaseException:
        _end(process)
        raise
    said.follow(task)
    if process.returncode != 0:
        raise RunError(f"monosema {verb} failed: {said.last or f'exit code {process.returncode}'}")
    return {"verb": verb, "run": task.request.run}


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Log:
    """The log of a process, as it grows."""

    def __init__(self, path: Path, place: int) -> None:
        self._path, self._place = path, place
        self.last = ""

    def follow(self, task: Task) -> None:
        """Tell the lines that have come; one that says a share is progress."""
        with open(self._path, "rb") as file:
            file.seek(self._place)
            content = file.read(2**20)
        whole = content[: content.rfind(b"\n") + 1]
        self._place += len(whole)
        for line in whole.decode("utf-8", "replace").splitlines():
            text = line.rstrip()
            if not text:
                continue
            self.last = text
            share = _SHARE.match(text)
            if share:
                task.progress(float(share["percent"]), 100.0, text)
            else:
                task.log(text)


def _require_run(request: OfRun, served: Serving) -> None:
    _ = served.library[request.run]


for _verb in ("run", "evaluate", "explain", "report"):
    register_kind(
        _verb,
        Kind(
            request=OfRun,
            title=lambda request, verb=_verb: f"monosema {verb} {request.run}",  # type: ignore[misc]
            work=partial(run_command, _verb),
            check=_require_run,
        ),
    )
