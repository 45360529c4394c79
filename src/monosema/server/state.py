"""What the routes share: the library of runs, and settings of the app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from monosema.server.library import Library, ServedRun


@dataclass
class Serving:
    """What one app serves.

    Attributes:
        library: the runs.
        model: name or path of a model to use in place of the runs' own; None for these.
    """

    library: Library
    model: str | None = None


def _serving(request: Request) -> Serving:
    served: Serving = request.app.state.serving
    return served


def _run(run: str, serving: Annotated[Serving, Depends(_serving)]) -> ServedRun:
    return serving.library[run]


Served = Annotated[Serving, Depends(_serving)]
"""Parameter of a route: what the app serves."""
OfRun = Annotated[ServedRun, Depends(_run)]
"""Parameter of a route below ``/runs/{run}``: that run; an unknown name is answered with 404."""
