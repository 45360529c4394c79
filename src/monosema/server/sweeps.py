"""Sweeps as jobs: steps of the library's own generator, done by the worker between the tokens of other texts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, model_validator

from monosema.core import RunError
from monosema.server.jobs import Kind, Task, register_kind
from monosema.server.text import ChatMessage, Words

if TYPE_CHECKING:
    from monosema.models import LanguageModel
    from monosema.server.library import ServedRun
    from monosema.server.state import Serving
    from monosema.steering import SweepStep

R = TypeVar("R")
ConceptName = Literal["sentiment", "french", "code", "name"]
STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Multiples of a steering at which a sweep looks, where none are asked for."""


class HasRun(BaseModel):
    """What names a run.

    Attributes:
        run: whose model and dictionary; the newest without it.
    """

    run: str | None = None


class SweepRequest(HasRun):
    """A steering at several strengths, each with several seeds, beside the unsteered text.

    Attributes:
        steering: its edits are multiplied by the strengths.
        prompt, messages: what is continued; without either, the concept's own beginnings.
        seed, seeds: the first seed, and how many.
        concept: what the effect is measured on.
        skill_prompts: prompts of each skill whose accuracy is the price; 0 for none.
    """

    steering: dict[str, Any]
    prompt: Words | None = Field(None, min_length=1, max_length=20_000)
    messages: list[ChatMessage] | None = Field(None, min_length=1, max_length=200)
    strengths: list[Annotated[float, Field(ge=-1000, le=1000)]] = Field(list(STRENGTHS), min_length=1, max_length=64)
    seed: int = Field(0, ge=0, lt=2**62)
    seeds: int = Field(4, ge=1, le=32)
    temperature: float = Field(1.0, ge=0, le=100)
    max_new_tokens: int = Field(40, gt=0, le=1000)
    concept: ConceptName | None = None
    skill_prompts: int = Field(0, ge=0, le=500)

    @model_validator(mode="after")
    def _something_to_continue(self) -> SweepRequest:
        if self.prompt is not None and self.messages is not None:
            raise ValueError("give either prompt or messages")
        if self.prompt is None and self.messages is None and self.concept is None:
            raise ValueError("give prompt, messages, or a concept whose beginnings are continued")
        return self


def run_of(asked: HasRun, served: Serving) -> ServedRun:
    """Return the run that a request names. Raises NotFoundError where there is none of that name, else RunError."""
    if asked.run is not None:
        return served.library[asked.run]
    run = next(iter(served.library.runs()), None)
    if run is None:
        raise RunError("There is no run here, so there is no model: start the server with a run.")
    return run


def in_steps(task: Task, served: Serving, steps: Callable[[LanguageModel], Generator[SweepStep, None, R]]) -> R:
    """Do the steps on the worker, and tell how far they are; returns what the generator returns."""
    ended: list[R] = []

    def pieces(model: LanguageModel) -> Iterator[SweepStep]:
        ended.append((yield from steps(model)))

    for step in served.worker.iterate(served.source(run_of(task.request, served)), pieces):
        task.progress(step.done, step.total)
    return ended[0]


def sweep_job(task: Task, served: Serving) -> Mapping[str, Any]:
    """Do a sweep; returns `SweepResult.to_dict`."""
    from monosema.server.steerings import steering_of
    from monosema.steering import SweepConfig, SweepResult, at_strengths, concept_named, sweep_steps

    asked: SweepRequest = task.request
    run = run_of(asked, served)
    concept = None if asked.concept is None else concept_named(asked.concept)
    config = SweepConfig(
        max_new_tokens=asked.max_new_tokens,
        temperature=asked.temperature,
        seeds=tuple(range(asked.seed, asked.seed + asked.seeds)),
        skill_prompts=asked.skill_prompts,
    )
    prompts: Any
    if asked.messages is not None:
        prompts = [[message.model_dump() for message in asked.messages]]
    else:
        prompts = concept.beginnings(False) if asked.prompt is None and concept is not None else [asked.prompt]

    def steps(model: LanguageModel) -> Generator[SweepStep, None, SweepResult]:
        candidates = at_strengths(steering_of(run, model, asked.steering), asked.strengths)
        return sweep_steps(model, prompts, candidates, config, None if concept is None else concept.effect)

    return in_steps(task, served, steps).to_dict()


def require_run(asked: HasRun, served: Serving) -> None:
    """Raise what `run_of` raises."""
    run_of(asked, served)


register_kind(
    "sweep", Kind(SweepRequest, lambda asked: f"sweep of {len(asked.strengths)} strengths", sweep_job, require_run)
)
