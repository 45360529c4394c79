"""State that the routes share: the library of runs, and settings of the app."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from monosema.core import MonosemaError
from monosema.server.errors import language_of
from monosema.server.jobs import Jobs
from monosema.server.library import Library, ServedRun
from monosema.server.worker import Source, Worker

if TYPE_CHECKING:
    from monosema.models import LanguageModel

T = TypeVar("T")
READERS = 6
"""Threads that questions of features are answered in."""


@dataclass
class Serving:
    """The runs, jobs and models of one app.

    Attributes:
        library: the runs.
        jobs: long work.
        model: name or path of a model to use in place of the runs' own; None for these.
        worker: the thread that computes with models.
        readers: how many threads answer questions of features at once.
    """

    library: Library
    jobs: Jobs
    model: str | None = None
    worker: Worker = field(default_factory=Worker)
    readers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(READERS))

    def source(self, run: ServedRun) -> Source:
        """Return the model that a run is shown with: that which the app was given, or the run's own."""
        from monosema.models import load_model
        from monosema.runs import open_model

        recipe, model = run.run.recipe, self.model
        if model is not None:
            return Source(model, lambda: load_model(model, dtype=recipe.model.dtype))
        own = recipe.model
        return Source(
            f"{own.name} {own.dtype} {recipe.other_model} {recipe.corpus.source if recipe.of_items else ''}",
            lambda: open_model(recipe),
        )

    def precise(self, run: ServedRun) -> Source:
        """Return the same model in float32: small differences of passes are lost in fewer bits."""
        from monosema.models import load_model

        name = self.model or run.run.recipe.model.name
        return Source(f"{name} float32", lambda: load_model(name, dtype="float32"))

    def with_model(self, run: ServedRun, work: Callable[[LanguageModel], T]) -> T:
        """Call `work` with the run's model while nothing else computes with it, and return what it returns.

        The model is loaded when it is first needed. See `Worker.call`, and `Worker.iterate` for work in pieces.
        """
        return self.worker.call(self.source(run), work)

    async def read(self, work: Callable[[], T]) -> T:
        """Call `work`, which does not wait long, in one of a few threads: each more would take the processor from the
        others, and keep memory of its own."""
        return await to_thread.run_sync(work, limiter=self.readers)

    def preload(self) -> None:
        """Import what takes long, and open the newest run's features and model, so that nobody waits for them."""
        for run in self.library.runs()[:1]:
            with contextlib.suppress(MonosemaError, OSError):
                self.worker.submit(self.source(run), lambda _: None)
                _ = run.described, run.report


async def _serving(request: Request) -> Serving:
    served: Serving = request.app.state.serving
    return served


async def _run(run: str, serving: Annotated[Serving, Depends(_serving)]) -> ServedRun:
    return serving.library[run]


# They are coroutines so that no thread is woken for what takes microseconds.
Served = Annotated[Serving, Depends(_serving)]
"""Parameter of a route: what the app serves."""
Spoken = Annotated[str, Depends(language_of)]
"""Parameter of a route: the code of the reader's language, for texts that are no error of the whole request."""
OfRun = Annotated[ServedRun, Depends(_run)]
"""Parameter of a route below ``/runs/{run}``: that run; an unknown name is answered with 404."""
