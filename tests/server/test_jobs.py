"""Jobs: followed, cancelled, taken up again after a kill; nothing on disk is torn."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from monosema.core import InputError, RunError
from monosema.runs import Run
from monosema.server import create_app
from monosema.server.errors import NotFoundError
from monosema.server.events import Stream
from monosema.server.jobs import KINDS, Job, Jobs, Kind, Task, register_kind


class Count(BaseModel):
    """Counting."""

    to: int
    seconds: float = 0.0


def count(task: Task, _: Any) -> Mapping[str, Any]:
    for number in range(len(task.kept()), task.request.to):
        if number == 13:
            raise RunError("Thirteen brings bad luck.")
        task.progress(number, task.request.to, f"at {number}")
        task.unwanted.wait(task.request.seconds)
        task.keep(f"{number:03d}", number)
    return {"counted": sorted(task.kept().values())}


@pytest.fixture(autouse=True)
def counting() -> Iterator[None]:
    register_kind("count", Kind(Count, lambda asked: f"count to {asked.to}", count))
    yield
    del KINDS["count"]


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    jobs = Jobs(tmp_path / "jobs")
    yield jobs
    jobs.close()


SERVED: Any = None


def ended(job: Job) -> Job:
    _wait(lambda: not job.live)
    return job


def events_of(job: Job, after: int = 0) -> list[tuple[str, dict[str, Any]]]:
    async def read() -> bytes:
        return b"".join([piece async for piece in job.stream.read(after)])

    blocks = asyncio.run(read()).decode().strip().split("\n\n")
    fields = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if block]
    return [(one["event"], json.loads(one["data"])) for one in fields]


def test_a_job_runs_and_gives_its_result(jobs: Jobs) -> None:
    job = ended(jobs.start("count", {"to": 3}, SERVED))
    assert job.record.state == "done"
    assert jobs.result(job.record.id) == {"counted": [0, 1, 2]}
    states = [data["state"] for kind, data in events_of(job) if kind == "state"]
    assert states == ["waiting", "running", "done"]
    again = Jobs(jobs.folder)
    assert again[job.record.id].record == job.record
    assert events_of(again[job.record.id]) == events_of(job)
    jobs.cancel(job.record.id)
    assert not job.folder.exists()


def test_who_is_told_that_a_job_is_done_finds_its_result(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    close = Stream.close
    monkeypatch.setattr(Stream, "close", lambda stream: (time.sleep(0.3), close(stream)))
    job = jobs.start("count", {"to": 1}, SERVED)

    async def results() -> list[Any]:
        return [jobs.result(job.record.id) async for piece in job.stream.read() if b'"state": "done"' in piece]

    assert asyncio.run(results()) == [{"counted": [0]}]


def test_what_fails_says_why_and_can_be_taken_up(jobs: Jobs) -> None:
    job = ended(jobs.start("count", {"to": 14}, SERVED))
    assert (job.record.state, job.record.error) == ("failed", "Thirteen brings bad luck.")
    seen = len(job.stream)
    KINDS["count"] = Kind(Count, str, lambda task, _: {"kept": len(task.kept())})
    jobs.resume(job.record.id, SERVED)
    assert ended(job).record.state == "done"
    assert jobs.result(job.record.id) == {"kept": 13}
    assert [data["state"] for _, data in events_of(job, after=seen)] == ["waiting", "running", "done"]
    with pytest.raises(RunError, match="nothing to take up"):
        jobs.resume(job.record.id, SERVED)


def test_a_cancelled_job_ends_and_goes_on_later(jobs: Jobs) -> None:
    job = jobs.start("count", {"to": 5, "seconds": 30}, SERVED)
    waiting = [jobs.start("count", {"to": 2, "seconds": 30}, SERVED) for _ in range(2)]
    _wait(lambda: job.record.said == "at 0")
    assert waiting[1].record.state == "waiting"
    for one in (*waiting, job):
        jobs.cancel(one.record.id)
    assert {ended(one).record.state for one in (job, *waiting)} == {"cancelled"}
    assert len(list(job.folder.glob("kept/*"))) == 1


def test_what_is_asked_wrongly_makes_no_job(jobs: Jobs) -> None:
    with pytest.raises(InputError, match="no kind of job 'fly'"):
        jobs.start("fly", {}, SERVED)
    with pytest.raises(InputError, match="to: "):
        jobs.start("count", {"to": "many"}, SERVED)
    with pytest.raises(NotFoundError):
        jobs["../../etc"]
    assert jobs.all() == []


def test_a_server_that_ends_interrupts_its_jobs(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path)
    job = jobs.start("count", {"to": 5, "seconds": 30}, SERVED)
    _wait(lambda: job.record.state == "running")
    jobs.close()
    assert Jobs(tmp_path)[job.record.id].record.state == "interrupted"


def test_a_line_that_a_kill_has_cut_is_dropped(jobs: Jobs) -> None:
    job = ended(jobs.start("count", {"to": 1}, SERVED))
    whole = (job.folder / "events.jsonl").read_bytes()
    (job.folder / "events.jsonl").write_bytes(whole + b'{"kind": "lo')
    assert events_of(Jobs(jobs.folder)[job.record.id]) == events_of(job)
    assert (job.folder / "events.jsonl").read_bytes() == whole


@pytest.fixture(scope="module")
def copied(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose training is to be made anew, slowly enough to be interrupted."""
    folder = tmp_path_factory.mktemp("served") / "small"
    shutil.copytree(finished.folder, folder)
    return folder


def test_a_command_on_a_run_is_a_job(copied: Path) -> None:
    (copied / "report" / next((copied / "report").glob("*.html")).name).unlink()
    with TestClient(create_app([copied]), base_url="http://localhost") as client:
        assert client.post("/api/jobs", json={"kind": "report", "run": "nothing"}).status_code == 404
        made = client.post("/api/jobs", json={"kind": "report", "run": "small"})
        assert made.status_code == 201
        id = made.json()["id"]
        followed = client.get(f"/api/jobs/{id}/events").text
        assert '"state": "done"' in followed
        assert client.get(f"/api/jobs/{id}/result").json() == {"verb": "report", "run": "small"}
        assert [one["title"] for one in client.get("/api/jobs").json()["jobs"]] == ["monosema report small"]
        assert client.delete(f"/api/jobs/{id}").status_code == 204
        assert client.get(f"/api/jobs/{id}").status_code == 404
    assert list((copied / "report").glob("*.html"))


SERVER = """
import socket, sys, uvicorn
from pathlib import Path
from monosema.server import create_app
uvicorn.Server(uvicorn.Config(create_app([Path(sys.argv[1])]), log_level="warning", port=int(sys.argv[2]))).run()
"""


@pytest.mark.slow
def test_a_killed_server_leaves_its_job_to_be_taken_up(copied: Path) -> None:
    """kill -9 while a job trains and a text is written; a client that had gone away frees its rows before."""
    port = _free_port()
    shutil.rmtree(copied / "dictionaries")
    stages = json.loads((copied / "stages.json").read_text())
    stages["stages"] = {name: stages["stages"][name] for name in list(stages["stages"])[:1]}
    (copied / "stages.json").write_text(json.dumps(stages))
    first = _serve(copied, port)
    address = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=address, timeout=60) as client:
        id = client.post("/api/jobs", json={"kind": "run", "run": "small"}).json()["id"]
        with client.stream("POST", "/api/generate", json={"prompt": "a", "max_new_tokens": 120}) as text:
            assert next(text.iter_lines()).startswith("id: 1")
        _wait(lambda: client.get(f"/api/jobs/{id}").json()["state"] == "running")
        os.kill(first.pid, signal.SIGKILL)
    first.wait()
    second = _serve(copied, port)
    try:
        with httpx.Client(base_url=address, timeout=120) as client:
            assert client.get(f"/api/jobs/{id}").json()["state"] == "interrupted"
            assert client.post(f"/api/jobs/{id}/resume").json()["state"] in ("waiting", "running")
            followed = client.get(f"/api/jobs/{id}/events").text
            assert followed.count("event: state") >= 4
            assert client.get(f"/api/jobs/{id}").json()["state"] == "done", followed
            lines = client.get("/api/runs/small/metrics/events").text
            assert "event: metrics" in lines
            assert lines.rstrip().endswith("event: end\ndata: {}")
    finally:
        second.terminate()
        second.wait()
    assert not list(copied.rglob("*.tmp"))


def _serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(folder), str(port)])

    def ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/api/jobs", timeout=30).status_code == 200
        except httpx.TransportError:
            return False

    _wait(ready)
    return server


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_a_sweep_of_a_killed_server_goes_on_from_its_finished_texts(finished: Run, tmp_path: Path) -> None:
    """kill -9 while texts are written; the texts that were finished are not written again."""
    folder = tmp_path / "small"
    shutil.copytree(finished.folder, folder)
    port, latent = _free_port(), next(iter(finished.atlas().features(limit=1)))["latent"]
    spec = {"edits": [{"latent": latent, "add": 1.0, "unit": "max"}]}
    asked = {"run": "small", "steering": spec, "prompt": "the cat", "strengths": [0.5, 1, 2, 3], "seeds": 32}
    asked |= {"max_new_tokens": 60}
    first, address = _serve(folder, port), f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=address, timeout=60) as client:
        id = client.post("/api/sweeps", json=asked).json()["id"]
        kept = folder / ".jobs" / id / "texts.jsonl"
        _wait(lambda: kept.exists() and len(kept.read_bytes().splitlines()) > 40)
        first.send_signal(signal.SIGKILL)
        first.wait()
    before = kept.read_bytes()[: kept.read_bytes().rfind(b"\n") + 1]
    assert len(before.splitlines()) < 5 * 32 * 2
    second = _serve(folder, port)
    try:
        with httpx.Client(base_url=address, timeout=60) as client:
            assert client.get(f"/api/jobs/{id}").json()["state"] == "interrupted"
            assert client.post(f"/api/jobs/{id}/resume").status_code in (200, 202)
            followed = client.get(f"/api/jobs/{id}/events", timeout=120).text
            assert '"state": "done"' in followed
            points = client.get(f"/api/jobs/{id}/result").json()["points"]
        assert [len(point["samples"]) for point in points] == [32] * 4
        assert kept.read_bytes().startswith(before)
        lines = [json.loads(line) for line in kept.read_text().splitlines()]
        keys = [line["text"] for line in lines if "tokens" in line]
        assert len(keys) == len({*keys}) == 5 * 32
    finally:
        second.send_signal(signal.SIGINT)
        second.wait(60)
