"""Ways to steer towards a concept, compared at equal divergence, as a job of the worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from monosema.server.jobs import Kind, Task, register_kind
from monosema.server.sweeps import KEPT, follow
from monosema.server.text import Asking
from monosema.steering import ComparisonConfig, SweepConfig, comparison_steps, concept_named

if TYPE_CHECKING:
    from monosema.server.state import Serving


class ComparisonAsked(Asking):
    """Ways to choose a latent beside prompt, mean difference, probe, random latent and random direction.

    Attributes:
        run: whose model and dictionary are used.
        concept: what texts are steered towards.
        kl: divergences in nats a token at which all are compared.
        chat: True to begin with the concept's questions.
        skill_prompts: prompts of each other skill whose accuracy is the price.
    """

    run: str = Field(max_length=200)
    concept: Literal["sentiment", "french", "code", "name"]
    kl: list[Annotated[float, Field(gt=0, le=20)]] = Field([0.25, 0.5, 1.0], min_length=1, max_length=8)
    chat: bool = False
    seeds: int = Field(2, ge=1, le=16)
    max_new_tokens: int = Field(40, ge=1, le=512)
    skill_prompts: int = Field(20, ge=0, le=500)
    seed: int = Field(0, ge=0, lt=2**31)


def _check(asked: ComparisonAsked, served: Serving) -> None:
    _ = served.library[asked.run].dictionary


def _work(task: Task, served: Serving) -> Mapping[str, object]:
    asked: ComparisonAsked = task.request
    run = served.library[asked.run]
    sweep = SweepConfig(
        seeds=tuple(range(asked.seeds)), max_new_tokens=asked.max_new_tokens, skill_prompts=asked.skill_prompts
    )
    config = ComparisonConfig(kl=tuple(asked.kl), chat=asked.chat, sweep=sweep, seed=asked.seed)
    concept = concept_named(asked.concept)
    keep = task.folder / KEPT
    return follow(
        task, served, run, lambda model: comparison_steps(model, run.dictionary, concept, config, keep=keep)
    ).to_dict()


register_kind("baselines", Kind(ComparisonAsked, lambda asked: f"Baselines for {asked.concept}", _work, _check))
