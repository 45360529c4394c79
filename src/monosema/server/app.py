"""The app: routes, guards and errors put together."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from importlib import import_module
from pathlib import Path
from threading import Thread

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.gzip import GZipMiddleware

from monosema.server import errors, shells
from monosema.server.jobs import Jobs
from monosema.server.library import Library
from monosema.server.replies import PlainJSON
from monosema.server.schemas import ErrorReply
from monosema.server.security import Guard
from monosema.server.state import Serving

ROUTES = (
    *(
        "runs",
        "charts",
        "export",
        "features",
        "causes",
        "circuits",
        "prompts",
        "attribution",
        "steer",
        "compare",
        "generate",
        "jobs",
        "sweeps",
    ),
    "live",
)
"""Modules of `server.routes`, each with its `router`; a line here serves another. The first that fits an address is
asked."""


def create_app(
    folders: Sequence[Path],
    *,
    model: str | None = None,
    token: str | None = None,
    hosts: Sequence[str] = (),
    jobs: Path | None = None,
) -> FastAPI:
    """Make the app of these runs.

    Args:
        folders: run folders, and folders that hold runs; nothing outside of them is read.
        model: name or path of a model in place of the runs' own.
        token: what every request must bring; None for nothing.
        hosts: names that the app may be called by, besides those of loopback.
        jobs: folder of the jobs; None for `.jobs` in the first of the folders.

    Raises:
        RunError: a folder is no run and holds none.
    """
    library = Library(folders)
    serving = Serving(library, Jobs(jobs or Path(folders[0]) / ".jobs"), model)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        preload = Thread(target=serving.preload, name="preload", daemon=True)
        preload.start()
        yield
        for end in (preload.join, serving.jobs.close, serving.worker.close, serving.library.close):
            await run_in_threadpool(end)

    app = FastAPI(
        lifespan=lifespan,
        default_response_class=PlainJSON,
        title="monosema",
        description="Runs, features, prompts and steering as JSON.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses={code: {"model": ErrorReply} for code in (400, 404, 409, 422)},
    )
    app.state.serving = serving
    errors.install(app)
    for name in ROUTES:
        app.include_router(import_module(f"monosema.server.routes.{name}").router)
    app.include_router(shells.router)
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=1)
    app.add_middleware(Guard, token=token, hosts=hosts)
    return app
