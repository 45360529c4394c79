"""Places of a latent in circuits."""

from __future__ import annotations

from monosema.circuits import ShownEdge, ShownGraph, ShownNode
from monosema.circuits.of_latent import EDGES, PLACES, places_of


def graph(run: str | None) -> ShownGraph:
    """A graph in which latent 7 stands at six positions, with eight edges at the first of them."""
    places = [
        ShownNode(name=f"3.resid_post#7@{i}", kind="latent", layer=3, latent=7, run=run, predicted=float((-1) ** i * i))
        for i in range(6)
    ]
    others = [ShownNode(name=f"m{i}", kind="mlp", layer=0, label=f"thing {i}") for i in range(8)]
    edges = [ShownEdge(source=6 + i, target=5, weight=(-1.0) ** i * i) for i in range(7)]
    edges.append(ShownEdge(source=5, target=13, weight=9.0))
    return ShownGraph(title="a task", unit="nodes", n_layers=4, nodes=(*places, *others), edges=tuple(edges), total=14)


def test_the_strongest_places_and_their_strongest_edges_are_given() -> None:
    found = places_of(7, {"c": graph(None)})
    assert [one.predicted for one in found] == [-5, 4, -3, 2]
    assert len(found) == PLACES
    first = found[0]
    assert (first.circuit, first.title, first.node) == ("c", "a task", "3.resid_post#7@5")
    assert [edge.weight for edge in first.edges] == [9, 6, -5, 4, -3, 2]
    assert len(first.edges) == EDGES
    assert (first.edges[0].other, first.edges[0].label, first.edges[0].into) == ("m7", "thing 7", False)
    assert first.edges[1].into
    assert places_of(8, {"c": graph(None)}) == []


def test_a_latent_of_another_run_is_another_latent() -> None:
    assert places_of(7, {"c": graph("other")}) == []
    assert places_of(7, {"c": graph("")}) == []
    assert len(places_of(7, {"c": graph("mine")}, "mine")) == PLACES
