"""Graphs as pages, files and other programs see them: nodes in rows and columns, edges by importance, a curve.

One form for all: components by layer and head, features and error terms by layer and position, attribution graphs over
transcoders. What comes first in the list of its unit matters most, so the circuit of n edges (or nodes) is the first n.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from monosema.circuits.circuit import Circuit, Ranking
from monosema.circuits.graph import Kind, Node
from monosema.circuits.scores import EdgeScores
from monosema.core import Estimate, FormatError, MonosemaError, read_json, write_json

FILE = "graph.json"
"""Name of the file in the folder of a circuit; a run keeps such folders below ``circuits/``."""
MOST_EDGES = 2000
"""Edges that a page holds, where nothing else is said."""

Unit = Literal["edges", "nodes"]


@dataclass(frozen=True, kw_only=True)
class ShownNode:
    """A node with its place.

    Attributes:
        name: unique in the graph: `a3.h5`, `m2`, `3.resid_post#17@4`.
        kind: embed, head, mlp, neuron, latent, error, token or logits; others are drawn like a head.
        layer: its row; −1 below the blocks, the number of blocks above them.
        column: its place in the row: a head's index, or a position where the graph has tokens; None for all positions.
        label: what it means, in words.
        latent: number of the latent that it is.
        run: name of the run whose features explain it; None for the one that the graph lies in.
        predicted: its effect on the metric by the method; positive where it helps.
        measured: what the metric lost when it was really exchanged.
    """

    name: str
    kind: str
    layer: int
    column: int | None = None
    label: str = ""
    latent: int | None = None
    run: str | None = None
    predicted: float | None = None
    measured: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class ShownEdge:
    """An edge between two nodes, by their index.

    Attributes:
        source, target: index in `nodes`.
        weight: its effect; positive where it helps.
        name: its name in its graph, by which it can be tested; "" where it has none.
    """

    source: int
    target: int
    weight: float
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The share of the task that a circuit of some size keeps.

    Attributes:
        size: edges (or nodes) that were kept.
        faithfulness: (m(C) − m(∅)) / (m(M) − m(∅)).
        random: the same of random circuits of that size.
    """

    size: int
    faithfulness: Estimate
    random: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class ShownGraph:
    """A graph to look at.

    Attributes:
        title: headline.
        unit: which of the two lists is by importance, and counted by the curve; tokens, embedding and logits are no
            nodes to count, and always there.
        n_layers: rows between the embedding and the logits.
        nodes, edges: what there is to draw.
        total: edges (or nodes) of the whole graph, of which these may be the first.
        tokens: texts of the columns; none where nodes stand for all positions.
        curve: faithfulness by size, the smallest first.
        about: facts by name: method, ablation, metric, task, model, n, split, seed, ….
        notes: sentences that an honest reader should see.
    """

    title: str
    unit: Unit
    n_layers: int
    nodes: tuple[ShownNode, ...]
    edges: tuple[ShownEdge, ...]
    total: int
    tokens: tuple[str, ...] = ()
    curve: tuple[Kept, ...] = ()
    about: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [node.name for node in self.nodes]
        if len({*names}) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise FormatError(f"Two nodes of the graph have the name {twice!r}. Names of nodes must be unique.")
        ends = [end for edge in self.edges for end in (edge.source, edge.target)]
        if ends and not 0 <= min(ends) <= max(ends) < len(names):
            raise FormatError(f"An edge ends at node {max(ends)}, but the graph has {len(names)} nodes.")

    def first(self, edges: int) -> ShownGraph:
        """Return the graph with its most important edges only, where edges are what is by importance."""
        return replace(self, edges=self.edges[:edges]) if self.unit == "edges" else self

    def write(self, folder: str | Path) -> Path:
        """Write the graph into a circuit's folder; return the file."""
        path = Path(folder) / FILE
        write_json(path, asdict(self))
        return path

    @classmethod
    def read(cls, folder: str | Path) -> ShownGraph:
        """Read a circuit's folder. Raises FormatError where its file is of another form."""
        from pydantic import TypeAdapter, ValidationError

        path = Path(folder) / FILE
        try:
            return TypeAdapter(cls).validate_python(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise FormatError(f"{path} is no graph of this form: {where}: {first['msg']}.") from None


def graph_files(run: str | Path) -> list[Path]:
    """Return the graphs' files in a run's folder, by the circuit's name."""
    return sorted(Path(run).glob(f"circuits/*/{FILE}"))


def shown_in(run: str | Path) -> list[ShownGraph]:
    """Return the graphs of the circuits in a run's folder, by name; those that can't be read are left out."""
    found = list[ShownGraph]()
    for path in graph_files(run):
        with contextlib.suppress(MonosemaError):
            found.append(ShownGraph.read(path.parent))
    return found


def show_circuit(
    scores: EdgeScores,
    *,
    title: str,
    curve: Sequence[Kept] = (),
    ranking: Ranking = "size",
    measured: Mapping[Node, Estimate] | None = None,
    most: int = MOST_EDGES,
    about: Mapping[str, str | int | float | bool] | None = None,
    notes: Sequence[str] = (),
) -> ShownGraph:
    """Return scored edges of components as a graph to look at.

    Args:
        scores: a score for every edge.
        curve: faithfulness by number of edges, by the same ranking.
        measured: what the metric lost when a node was really exchanged.
        most: edges that are shown.
        about: further facts, beside those of the scores.
    """
    graph, values = scores.graph, scores.values
    kept = Circuit.top(scores, min(most, graph.n_edges), ranking).keep
    ranks = values.abs() if ranking == "size" else values
    pairs = sorted(kept.nonzero().tolist(), key=lambda pair: -float(ranks[pair[0], pair[1]]))
    nodes = [*graph.writers, graph.readers[-1].node]
    index = {node: place for place, node in enumerate(nodes)}
    # Where heads share keys and values, the edge is drawn to the first of them.
    owners = dict.fromkeys(range(len(graph.readers)), nodes[-1])
    for node in reversed(graph.writers):
        owners |= dict.fromkeys(graph.inputs_of(node), node)
    out = values.sum(1).tolist()
    return ShownGraph(
        title=title,
        unit="edges",
        n_layers=max(node.layer for node in graph.writers) + 1,
        nodes=tuple(
            ShownNode(
                name=node.name,
                kind=str(node.kind),
                layer=node.layer,
                column=node.head if node.kind is Kind.HEAD else None,
                predicted=out[place] if place < len(out) else None,
                measured=(measured or {}).get(node),
            )
            for place, node in enumerate(nodes)
        ),
        edges=tuple(
            ShownEdge(
                source=w,
                target=index[owners[r]],
                weight=float(values[w, r]),
                name=graph.edge_name(w, r),
            )
            for w, r in pairs
        ),
        total=graph.n_edges,
        curve=tuple(curve),
        about={**asdict(scores.about), "ranking": ranking, **(about or {})},
        notes=tuple(notes),
    )
