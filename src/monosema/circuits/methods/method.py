"""Methods: ways to score all edges of a task's graph, with one signature, in an open list."""

from __future__ import annotations

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
from monosema.circuits.metrics import Metric
from monosema.circuits.running import ROW_BYTES
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
        model, graph, contrast, metric: these.
        stand_ins: what stands in for each writer.
    """

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
        row_bytes: bytes of contributions that one pass may hold.
    """

    model: Transformer
    contrasts: Contrasts
    ablation: Ablation
    metric: Metric
    row_bytes: int = ROW_BYTES

    @cached_property
    def graph(self) -> Graph:
        """The model's graph."""
        return component_graph(self.model)

    def parts(self) -> Iterator[Part]:
        """Give the prompts in parts that fit memory, in their order."""
        for group in self.contrasts:
            # A mean is one of the whole group, whatever part of it a pass takes.
            whole = self.ablation.stand_ins(self.model, group)
            # Besides the contributions themselves there are the stand-ins, and what is kept for a backward pass.
            rows = max(self.row_bytes // (3 * whole[:, 0].numel() * whole.element_size()), 1)
            for start in range(0, len(group), rows):
                part, values = group[start : start + rows], whole[:, start : start + rows]
                yield Part(model=self.model, graph=self.graph, contrast=part, metric=self.metric, stand_ins=values)

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
