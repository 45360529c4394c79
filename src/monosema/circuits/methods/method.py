"""Methods: ways to score all edges of a task's graph, with one signature, in an open list."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.ablations import Ablation
from monosema.circuits.contrast import Contrast, Contrasts
from monosema.circuits.graph import Graph, component_graph
from monosema.circuits.memory import contribution_bytes, forward_bytes, rows_within
from monosema.circuits.metrics import Metric
from monosema.circuits.scores import EdgeScores, Provenance, provenance
from monosema.core import ConfigError, InputError, nearest
from monosema.models import Transformer

Said = Callable[[str], None]


def silent(_: str) -> None:
    """Say nothing."""


@runtime_checkable
class Method(Protocol):
    """A way to score edges."""

    @property
    def name(self) -> str:
        """Key of `METHODS`."""
        ...

    @property
    def about(self) -> str:
        """One line for people."""
        ...

    def __call__(self, problem: Problem, said: Said = silent) -> EdgeScores:
        """Return a score for every edge: positive where the edge helps the task; `said` is told what is being done."""
        ...


METHODS: dict[str, Method] = {}
"""All methods, by name."""


def register_method(method: Method) -> None:
    """Add a method to the open list. Raises ConfigError where its name is taken."""
    if method.name in METHODS:
        raise ConfigError(f"There is a method {method.name!r} already.")
    METHODS[method.name] = method


def method_named(name: str) -> Method:
    """Return a method by its name. Raises InputError where there is none."""
    if name not in METHODS:
        raise InputError(f"There is no method {name!r}.{nearest(name, METHODS)} Methods: {', '.join(METHODS)}.")
    return METHODS[name]


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """Prompts that fit memory together, and all that it takes to score edges on them.

    Attributes:
        rows: theirs among all prompts of the problem.
        model, graph, contrast, metric: these.
        stand_ins: what stands in for each writer.
    """

    rows: slice
    model: Transformer
    graph: Graph
    contrast: Contrast
    metric: Metric
    stand_ins: Float[Tensor, "w n pos d_model"]


@dataclass(frozen=True, eq=False)
class Problem:
    """All that it takes to score edges.

    Attributes:
        model, contrasts, metric: these.
        ablation: what stands in for a writer's contribution.
    """

    model: Transformer
    contrasts: Contrasts
    ablation: Ablation
    metric: Metric

    @cached_property
    def graph(self) -> Graph:
        """The model's graph."""
        return component_graph(self.model)

    def parts(self, at_most: int | None = None) -> Iterator[Part]:
        """Give the prompts, or about so many of them, of all lengths alike, in parts that fit memory, in order."""
        share, first = 1.0 if at_most is None else min(at_most / len(self.contrasts), 1.0), 0
        for group in self.contrasts:
            stand_ins, length = self.ablation.stand_ins(self.model, group), group.clean.shape[1]
            # Contributions, the stand-ins, and the gaps between them, beside what is kept for a backward pass.
            row = 3 * contribution_bytes(self.model, length) + forward_bytes(self.model, length, kept=True)
            at = first
            for part in group[: math.ceil(share * len(group))].chunks(rows_within(row)):
                yield Part(
                    rows=slice(at, at + len(part)),
                    model=self.model,
                    graph=self.graph,
                    contrast=part,
                    metric=self.metric,
                    stand_ins=stand_ins(part),
                )
                at += len(part)
            first += len(group)

    def scored(
        self, name: str, score: Callable[[Part], Float[Tensor, "n w r"]], forward: int, backward: int = 0
    ) -> EdgeScores:
        """Return the scores of all parts; `forward` and `backward` are the passes over all prompts that it takes.

        Raises:
            InputError: scores that are no numbers.
        """
        began = time.perf_counter()
        by_prompt = torch.cat([score(part).cpu() for part in self.parts()])
        if not bool(by_prompt.isfinite().all()):
            raise InputError(
                f"{name} gives scores on {self.contrasts.task!r} that are no numbers. Take the model in float32, and "
                "another metric."
            )
        about = self.about(name, began, forward, backward)
        return EdgeScores(graph=self.graph, by_prompt=by_prompt * self.graph.allowed, about=about)

    def about(self, name: str, began: float, forward: int, backward: int = 0) -> Provenance:
        """Return the facts about scores that began to be made at a time of `time.perf_counter`."""
        return provenance(self.model, self.contrasts, self.metric, self.ablation, name, forward, began, backward)
