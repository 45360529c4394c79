"""Jobs: begun, listed, followed, cancelled, taken up again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse

from monosema.server import commands  # noqa: F401 – registers its kinds
from monosema.server.events import seen_number, send
from monosema.server.jobs import LIVE
from monosema.server.state import Served

router = APIRouter(prefix="/api/jobs", tags=["jobs"])
Id = Annotated[str, Path(max_length=64)]


class JobRequest(BaseModel):
    """A job that is asked for: its kind, and the fields of that kind.

    Attributes:
        kind: "run", "evaluate", "explain", "report" (each of a `run`), "sweep", "baselines" (see `routes.sweeps`),
            and what others have registered.
    """

    model_config = ConfigDict(extra="allow")
    kind: str = Field(max_length=40)


class JobReply(BaseModel):
    """A job. See `server.jobs.Record`."""

    id: str
    kind: str
    title: str
    request: dict[str, Any]
    state: str
    created: float
    started: float | None
    ended: float | None
    done: float
    total: float | None
    said: str
    error: str | None


class JobList(BaseModel):
    """All jobs, the newest first."""

    jobs: list[JobReply]


@router.post("", response_model=JobReply, status_code=201)
def start(asked: JobRequest, served: Served) -> Any:
    """Begin a job."""
    return served.jobs.start(asked.kind, asked.model_extra or {}, served).record.to_dict()


@router.get("", response_model=JobList)
def jobs(served: Served) -> Any:
    """List the jobs."""
    return {"jobs": [job.record.to_dict() for job in served.jobs.all()]}


@router.get("/{id}", response_model=JobReply)
def job(id: Id, served: Served) -> Any:
    """Show a job."""
    return served.jobs[id].record.to_dict()


@router.get("/{id}/result")
def result(id: Id, served: Served) -> Any:
    """Give what a job gave."""
    return served.jobs.result(id)


@router.get("/{id}/events", response_class=EventSourceResponse)
async def events(id: Id, served: Served, seen: Annotated[int, Depends(seen_number)]) -> EventSourceResponse:
    """Follow a job: `state` (all of it), `progress` {done, total, said}, `log` {line}, behind Last-Event-ID."""
    return send(served.jobs[id].stream.read(seen))


@router.post("/{id}/resume", response_model=JobReply)
def resume(id: Id, served: Served) -> Any:
    """Take up a job that was interrupted, cancelled or failed, from what is finished of it."""
    return served.jobs.resume(id, served).record.to_dict()


@router.delete("/{id}", status_code=204)
def cancel(id: Id, served: Served, response: Response) -> None:
    """Cancel a job that goes on (202: it ends soon), or remove one that has ended."""
    if served.jobs[id].record.state in LIVE:
        response.status_code = 202
    served.jobs.cancel(id)
