"""ACDC: edges removed one after another, from the logits back, where the task does not miss them.

    edge e of the circuit C is removed if  mean metric(C) − mean metric(C ∖ e) < τ

(Conmy et al. 2023, arXiv:2304.14997.) Steps depend on those before, but most edges are removed; so a batch runs the
circuits that follow if all of its edges are, and is cut at the first that stays: the same decisions, many at a time.
Departures: τ is a share of the whole difference m(M) − m(∅), and any metric may be taken, with its sign.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from monosema.circuits.graph import Graph
from monosema.circuits.methods.method import Problem, Said, register_method, silent
from monosema.circuits.running import circuit_metrics
from monosema.circuits.scores import EdgeScores


@dataclass(frozen=True)
class Acdc:
    """ACDC; the score of an edge that stays is what its removal would have cost, of others 0.

    Attributes:
        name, about: see `Method`.
        threshold: τ.
        at_once: removals that are tried as one batch.
    """

    name: str = "acdc"
    about: str = "edges removed one after another while the task is kept"
    threshold: float = 0.01
    at_once: int = 32

    def __call__(self, problem: Problem, said: Said = silent) -> EdgeScores:
        """Remove what is not missed, and score what stays."""
        began, graph, runs = time.perf_counter(), problem.graph, 0

        def tried(keeps: list[Tensor]) -> Tensor:
            nonlocal runs
            runs += len(keeps)
            some = (problem.model, problem.contrasts, graph, keeps, problem.ablation, problem.metric)
            return circuit_metrics(*some).cpu()

        order = removal_order(graph)
        keep = graph.allowed.clone()
        now, empty = tried([keep, torch.zeros_like(keep)])
        limit = self.threshold * float((now - empty).mean())
        scores = torch.zeros(len(now), *keep.shape)
        while order:
            some, circuits = order[: self.at_once], list[Tensor]()
            trial = keep.clone()
            for edge in some:
                trial[edge] = False
                circuits.append(trial.clone())
            for edge, circuit, then in zip(some, circuits, tried(circuits), strict=True):
                order = order[1:]
                if float((now - then).mean()) >= limit:
                    scores[:, edge[0], edge[1]] = now - then
                    break
                keep, now = circuit, then
            said(f"{len(order):,} of {graph.n_edges:,} edges are still to be tried, {int(keep.sum()):,} stay so far")
        return EdgeScores(graph=graph, by_prompt=scores, about=problem.about(self.name, began, runs))


def removal_order(graph: Graph) -> list[tuple[int, int]]:
    """Return all edges from the logits back to the embedding: by reader, the last first, then by writer."""
    return [(w, r) for r, w in graph.allowed.T.nonzero().flip(0).tolist()]


register_method(Acdc())
