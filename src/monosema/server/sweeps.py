"""Jobs that are sweeps: a steering at several strengths, written with several seeds, and what each strength gives."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

from monosema.models import LanguageModel
from monosema.server.jobs import Kind, Task, register_kind
from monosema.server.steerings import steering_of
from monosema.server.text import OnPrompt
from monosema.steering import SweepConfig, SweepResult, SweepStep, at_strengths, concept_named, sweep_steps
from monosema.steering.concepts import BuiltinConcept

if TYPE_CHECKING:
    from monosema.server.library import ServedRun
    from monosema.server.state import Serving

R = TypeVar("R")
KEPT = "texts.jsonl"
"""File of a job's finished texts, from which it goes on after a kill."""
STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)


class SweepAsked(OnPrompt):
    """A sweep.

    Attributes:
        run: whose model and dictionary are used.
        prompt, messages: what all texts go on from: one of them.
        steering: its edits; strengths are factors of it.
        seeds: texts for each strength.
        concept: whose measure says how much of it a text shows, by the name of one that is built in.
    """

    run: str = Field(max_length=200)
    steering: dict[str, Any]
    strengths: list[Annotated[float, Field(ge=0, le=1000)]] = Field(list(STRENGTHS), min_length=1, max_length=32)
    seeds: int = Field(4, ge=1, le=32)
    seed: int = Field(0, ge=0, lt=2**31)
    temperature: float = Field(1.0, ge=0, le=100, allow_inf_nan=False)
    max_new_tokens: int = Field(40, ge=1, le=512)
    concept: BuiltinConcept | None = None


def _check(asked: SweepAsked, served: Serving) -> None:
    run = served.library[asked.run]
    if asked.concept is not None:
        concept_named(asked.concept)
    served.with_model(run, lambda model: steering_of(run, model, asked.steering))


def _work(task: Task, served: Serving) -> Mapping[str, Any]:
    asked: SweepAsked = task.request
    run = served.library[asked.run]
    config = SweepConfig(
        max_new_tokens=asked.max_new_tokens,
        temperature=asked.temperature,
        seeds=tuple(range(asked.seed, asked.seed + asked.seeds)),
    )
    effect = None if asked.concept is None else concept_named(asked.concept).effect

    def steps(model: LanguageModel) -> Generator[SweepStep, None, SweepResult]:
        candidates = at_strengths(steering_of(run, model, asked.steering), asked.strengths)
        return (yield from sweep_steps(model, [asked.given], candidates, config, effect, task.folder / KEPT))

    return follow(task, served, run, steps).to_dict()


def follow(
    task: Task, served: Serving, run: ServedRun, steps: Callable[[LanguageModel], Generator[SweepStep, None, R]]
) -> R:
    """Take steps with a run's model, telling each as progress, and return what they give in the end."""
    given: list[R] = []

    def pieces(model: LanguageModel) -> Iterator[SweepStep]:
        given.append((yield from steps(model)))

    for step in served.worker.iterate(served.source(run), pieces):
        task.progress(step.done, step.total)
    return given[0]


register_kind("sweep", Kind(SweepAsked, lambda asked: f"Sweep of {len(asked.strengths)} strengths", _work, _check))
