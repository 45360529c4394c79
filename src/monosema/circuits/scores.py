"""Scores: how much each edge or node matters, by one method, with what it took and how it is to be read.

A score is the metric on clean prompts less the metric with that edge (or node) exchanged: positive where it helps the
task. Methods estimate it; `exact` measures it. On a linear model the scores of all edges into the logits sum to the
whole difference.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.ablations import Ablation
from monosema.circuits.contrast import Contrasts
from monosema.circuits.graph import Graph, Node
from monosema.circuits.metrics import Metric
from monosema.models import Transformer


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Facts about scores.

    Attributes:
        method, ablation, metric, task, model: names.
        n: prompts.
        forward, backward: passes over all prompts that were made.
        seconds: time that it took.
    """

    method: str
    ablation: str
    metric: str
    task: str
    model: str
    n: int
    forward: float
    backward: float
    seconds: float


def provenance(
    model: Transformer,
    contrasts: Contrasts,
    metric: Metric,
    ablation: Ablation,
    method: str,
    forward: int,
    began: float,
    backward: int = 0,
) -> Provenance:
    """Return the facts about scores that began to be made at a time of `time.perf_counter`."""
    return Provenance(
        method=method,
        ablation=ablation.name,
        metric=metric.name,
        task=contrasts.task,
        model=model.name,
        n=len(contrasts),
        forward=float(forward),
        backward=float(backward),
        seconds=time.perf_counter() - began,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeScores:
    """A score for every edge of a graph.

    Attributes:
        graph: the structure.
        by_prompt: one matrix a prompt; 0 where there is no edge.
        about: how they came about.
    """

    graph: Graph
    by_prompt: Float[Tensor, "n w r"]
    about: Provenance

    @property
    def values(self) -> Float[Tensor, "w r"]:
        """Means over prompts."""
        return self.by_prompt.mean(0)

    def edges(self) -> Float[Tensor, " edges"]:
        """Return the means of all edges there are, row by row."""
        return self.values[self.graph.allowed]


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeScores:
    """A score for every writer of a graph.

    Attributes:
        nodes: the writers.
        by_prompt: one row a prompt.
        about: how they came about.
    """

    nodes: tuple[Node, ...]
    by_prompt: Float[Tensor, "n w"]
    about: Provenance

    @property
    def values(self) -> Float[Tensor, " w"]:
        """Means over prompts."""
        return self.by_prompt.mean(0)


@dataclass(frozen=True)
class Agreement:
    """Agreement of two methods' scores of the same things.

    Attributes:
        pearson, spearman: correlations of the values and of their ranks.
        n: things that were compared.
    """

    pearson: float
    spearman: float
    n: int


def agreement(scores: Float[Tensor, " things"], exact: Float[Tensor, " things"]) -> Agreement:
    """Return the correlations of estimated with exact scores."""
    from scipy.stats import pearsonr, spearmanr

    x, y = (np.asarray(one.detach().double().cpu()) for one in (scores, exact))
    return Agreement(float(pearsonr(x, y)[0]), float(spearmanr(x, y)[0]), len(x))
