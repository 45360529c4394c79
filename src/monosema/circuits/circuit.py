"""Circuits: edges that are kept of a graph, chosen by scores, by chance, or by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from monosema.circuits.graph import Graph, Kind, Node
from monosema.circuits.scores import EdgeScores
from monosema.core import InputError, torch_generator

Ranking = Literal["size", "sign"]
"""Edges by the absolute value of their score, or by the score with its sign: those that help come first."""


@dataclass(frozen=True, eq=False)
class Circuit:
    """Edges that are kept of a graph.

    Attributes:
        graph: the structure.
        keep: true for the edges of the circuit.
    """

    graph: Graph
    keep: Bool[Tensor, "w r"]

    def __len__(self) -> int:
        return int(self.keep.sum())

    @classmethod
    def top(cls, scores: EdgeScores, n: int, ranking: Ranking = "size") -> Circuit:
        """Return the n edges that matter most. Raises InputError for more edges than there are, or less than none."""
        graph, values = scores.graph, scores.values
        if not 0 <= n <= graph.n_edges:
            raise InputError(f"{n} edges are not valid: the graph has {graph.n_edges:,}. Give 0 to {graph.n_edges:,}.")
        ranks = values.abs() if ranking == "size" else values
        order = ranks.masked_fill(~graph.allowed, float("-inf")).flatten().argsort(descending=True, stable=True)
        keep = torch.zeros(graph.allowed.numel(), dtype=torch.bool)
        keep[order[:n].cpu()] = True
        return cls(graph, keep.view_as(graph.allowed))

    @classmethod
    def random(cls, graph: Graph, n: int, seed: int = 0) -> Circuit:
        """Return n edges drawn at random: the control for a circuit of that size."""
        edges = graph.allowed.flatten().nonzero()[:, 0]
        drawn = torch.randperm(len(edges), generator=torch_generator(seed, "random circuit"))[:n]
        keep = torch.zeros(graph.allowed.numel(), dtype=torch.bool)
        keep[edges[drawn]] = True
        return cls(graph, keep.view_as(graph.allowed))

    @classmethod
    def of_edges(cls, graph: Graph, names: Iterable[str]) -> Circuit:
        """Return the circuit of named edges, as a person picks them. Raises InputError for an edge there is not."""
        keep = torch.zeros_like(graph.allowed)
        for name in names:
            keep[graph.edge(name)] = True
        return cls(graph, keep)

    @classmethod
    def of_nodes(cls, graph: Graph, nodes: Iterable[Node]) -> Circuit:
        """Return all edges among some nodes, the embedding and the logits."""
        inside = {*nodes, *(node for node in graph.writers if node.kind is Kind.EMBED)}
        rows = torch.tensor([node in inside for node in graph.writers])
        ends = [reader.node in inside or reader.node.kind is Kind.LOGITS for reader in graph.readers]
        return cls(graph, graph.allowed & rows[:, None] & torch.tensor(ends)[None, :])

    def complement(self) -> Circuit:
        """Return all edges that are not in this circuit."""
        return Circuit(self.graph, self.graph.allowed & ~self.keep)

    def connected(self) -> Circuit:
        """Return the edges that lie on a way from the embedding to the logits within the circuit.

        Where the corrupted prompt stands in, what lies on none has no effect: a component that nothing of the circuit
        reaches computes what it computes on the corrupted prompt, and one that nothing reads is lost.
        """
        keep, graph = self.keep.clone(), self.graph
        inputs = {node: graph.inputs_of(node) for node in graph.writers}
        ends = [column for column, reader in enumerate(graph.readers) if reader.node.kind is Kind.LOGITS]
        while True:
            before = int(keep.sum())
            live = [*ends]
            for row, node in enumerate(graph.writers):
                if inputs[node] and not bool(keep[:, inputs[node]].any()):
                    keep[row] = False
                if bool(keep[row].any()):
                    live += inputs[node]
            dead = torch.ones(len(graph.readers), dtype=torch.bool)
            dead[live] = False
            keep[:, dead] = False
            if int(keep.sum()) == before:
                return Circuit(graph, keep)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Writers from which an edge of the circuit leads on, in order."""
        return tuple(node for row, node in enumerate(self.graph.writers) if bool(self.keep[row].any()))

    def edge_names(self) -> list[str]:
        """Return the names of its edges, in the order of the graph."""
        return [self.graph.edge_name(w, r) for w, r in self.keep.nonzero().tolist()]
