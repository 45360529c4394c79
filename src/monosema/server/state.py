"""What the routes share: the library of runs, and settings of the app."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Annotated, TypeVar

from fastapi import Depends, Request

from monosema.core import MonosemaError
from monosema.server.library import Library, ServedRun

if TYPE_CHECKING:
    from monosema.models import LanguageModel

T = TypeVar("T")


@dataclass
class Serving:
    """What one app serves.

    Attributes:
        library: the runs.
        model: name or path of a model to use in place of the runs' own; None for these.
    """

    library: Library
    model: str | None = None
    _models: dict[str, LanguageModel] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def with_model(self, run: ServedRun, work: Callable[[LanguageModel], T]) -> T:
        """Call `work` with the run's model while nothing else computes with it, and return what it returns.

        The model is loaded when it is first needed.
        """
        from monosema.models import load_model
        from monosema.runs import open_model

        recipe = run.run.recipe
        name = self.model or f"{recipe.model.name} {recipe.model.dtype} {recipe.other_model} {recipe.corpus.source}"
        with self._lock:
            if name not in self._models:
                model = open_model(recipe) if self.model is None else load_model(self.model, dtype=recipe.model.dtype)
                self._models[name] = model
            return work(self._models[name])

    def preload(self) -> None:
        """Import what takes long, and open the newest run's features, so that nobody waits for it."""
        for run in self.library.runs()[:1]:
            with contextlib.suppress(MonosemaError, OSError):
                _ = run.described, run.report


def _serving(request: Request) -> Serving:
    served: Serving = request.app.state.serving
    return served


def _run(run: str, serving: Annotated[Serving, Depends(_serving)]) -> ServedRun:
    return serving.library[run]


Served = Annotated[Serving, Depends(_serving)]
"""Parameter of a route: what the app serves."""
OfRun = Annotated[ServedRun, Depends(_run)]
"""Parameter of a route below ``/runs/{run}``: that run; an unknown name is answered with 404."""
