"""Methods: ways to score all edges of a task's graph, with one signature, in an open list."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.ablations import Ablation
from monosema.circuits.contrast import Contrast, Contrasts
from monosema.circuits.graph import Graph, component_graph
from monosema.circuits.metrics import Metric
from monosema.circuits.running import ROW_BYTES
from monosema.circuits.scores import EdgeScores, Provenance
from monosema.core import ConfigError, InputError, nearest
from monosema.models import Transformer

Said = Callable[[str], None]


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

    def __call__(
        self,
        model: Transformer,
        contrasts: Contrasts,
        ablation: Ablation,
        metric: Metric,
        *,
        row_bytes: int = ROW_BYTES,
        said: Said = lambda _: None,
    ) -> EdgeScores:
        """Return a score for every edge: positive where the edge helps the task.

        Args:
            ablation: what stands in for a writer's contribution.
            row_bytes: bytes of contributions that one pass may hold.
            said: told what is being done.
        """
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


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Passes over all prompts that a method makes."""

    forward: float
    backward: float = 0.0


def score_parts(
    name: str,
    score: Callable[[Part], Float[Tensor, "n w r"]],
    passes: Callable[[Transformer], Passes],
    model: Transformer,
    contrasts: Contrasts,
    ablation: Ablation,
    metric: Metric,
    row_bytes: int,
) -> EdgeScores:
    """Score the prompts in parts that fit memory.

    Raises:
        InputError: scores that are no numbers.
    """
    begun, graph = time.perf_counter(), component_graph(model)
    found = [score(part).cpu() for part in parts_of(model, contrasts, ablation, metric, row_bytes)]
    by_prompt = torch.cat(found)
    if not bool(by_prompt.isfinite().all()):
        raise InputError(
            f"{name} gives scores on {contrasts.task!r} that are no numbers. Take the model in float32, and another "
            "metric."
        )
    about = provenance(name, model, contrasts, ablation, metric, passes(model), begun)
    return EdgeScores(graph=graph, by_prompt=by_prompt * graph.allowed, about=about)


def parts_of(
    model: Transformer, contrasts: Contrasts, ablation: Ablation, metric: Metric, row_bytes: int
) -> Iterator[Part]:
    """Give the prompts in parts that fit memory, in their order."""
    graph = component_graph(model)
    for group in contrasts:
        # A mean is one of the whole group, whatever part of it a pass takes.
        whole = ablation.stand_ins(model, group)
        # Besides the contributions themselves there are the stand-ins, and what is kept for a backward pass.
        rows = max(row_bytes // (3 * whole[:, 0].numel() * whole.element_size()), 1)
        for start in range(0, len(group), rows):
            part, values = group[start : start + rows], whole[:, start : start + rows]
            yield Part(model=model, graph=graph, contrast=part, metric=metric, stand_ins=values)


def provenance(
    name: str,
    model: Transformer,
    contrasts: Contrasts,
    ablation: Ablation,
    metric: Metric,
    passes: Passes,
    begun: float,
) -> Provenance:
    """Return the facts about scores that began to be made at a time of `time.perf_counter`."""
    return Provenance(
        method=name,
        ablation=ablation.name,
        metric=metric.name,
        task=contrasts.task,
        model=model.name,
        n=len(contrasts),
        forward=passes.forward,
        backward=passes.backward,
        seconds=time.perf_counter() - begun,
    )
