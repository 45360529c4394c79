"""A latent's places in the circuits that name it: what each place does there, and its strongest edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monosema.circuits.shown import ShownGraph, ShownNode
from monosema.core import Estimate

EDGES = 6
"""Edges of a place that are given: those of the largest weight."""
PLACES = 4
"""Places in one circuit that are given: those of the largest effect."""


@dataclass(frozen=True, kw_only=True)
class PlaceEdge:
    """An edge between a latent and another node.

    Attributes:
        other: the other node's name.
        label: what that means, in words.
        latent, run: its latent, and the run whose features explain it, as `ShownNode` has them.
        weight: its effect; positive where it helps.
        into: True where the edge comes from the other node.
    """

    other: str
    label: str
    latent: int | None
    run: str | None
    weight: float
    into: bool


@dataclass(frozen=True, kw_only=True)
class Place:
    """A latent as a node of a circuit.

    Attributes:
        circuit, title: of the circuit.
        node: the node's name.
        predicted, measured: its effect on the metric by the method, and what the metric lost when it was exchanged.
        edges: the strongest, by size.
    """

    circuit: str
    title: str
    node: str
    predicted: float | None
    measured: Estimate | None
    edges: tuple[PlaceEdge, ...]


def places_of(latent: int, graphs: Mapping[str, ShownGraph], run: str | None = None) -> list[Place]:
    """Return a latent's places in the circuits of its run.

    Args:
        graphs: by the circuit's name.
        run: name of the run, by which graphs that lie in another one name it.
    """
    found = list[Place]()
    for circuit, graph in graphs.items():
        own = [i for i, node in enumerate(graph.nodes) if node.latent == latent and _is_of(node, run)]
        own.sort(key=lambda i: -abs(graph.nodes[i].predicted or 0.0))
        found += [_place(circuit, graph, i) for i in own[:PLACES]]
    return found


def _is_of(node: ShownNode, run: str | None) -> bool:
    return node.run is None or (run is not None and node.run == run)


def _place(circuit: str, graph: ShownGraph, index: int) -> Place:
    node = graph.nodes[index]
    touching = [edge for edge in graph.edges if index in (edge.source, edge.target)]
    edges = list[PlaceEdge]()
    for edge in sorted(touching, key=lambda edge: -abs(edge.weight))[:EDGES]:
        into = edge.target == index
        other = graph.nodes[edge.source if into else edge.target]
        about = PlaceEdge(
            other=other.name, label=other.label, latent=other.latent, run=other.run, weight=edge.weight, into=into
        )
        edges.append(about)
    return Place(
        circuit=circuit,
        title=graph.title,
        node=node.name,
        predicted=node.predicted,
        measured=node.measured,
        edges=tuple(edges),
    )
