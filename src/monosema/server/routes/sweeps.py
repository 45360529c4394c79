"""Sweeps, and comparisons with baselines, under addresses of their own; each is a job (see `routes.jobs`)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from monosema.server.comparing import ComparisonAsked
from monosema.server.routes.jobs import JobReply
from monosema.server.state import Served
from monosema.server.sweeps import SweepAsked

router = APIRouter(prefix="/api", tags=["jobs"])


@router.post("/sweeps", response_model=JobReply, status_code=201)
def sweep(asked: SweepAsked, served: Served) -> Any:
    """Begin a sweep: a steering at several strengths and seeds; the job's result is that of `steering.sweep`."""
    return served.jobs.start("sweep", asked.model_dump(), served).record.to_dict()


@router.post("/baselines", response_model=JobReply, status_code=201)
def baselines(asked: ComparisonAsked, served: Served) -> Any:
    """Begin a comparison of ways to steer; the job's result is that of `steering.compare_choices`."""
    return served.jobs.start("baselines", asked.model_dump(), served).record.to_dict()
