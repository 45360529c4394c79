"""Circuits in DOT, the language of Graphviz: `dot -Tsvg circuit.dot > circuit.svg`."""

from __future__ import annotations

from monosema.circuits.circuit import Circuit
from monosema.circuits.graph import Kind, Node
from monosema.circuits.scores import EdgeScores

_SHAPES = {Kind.EMBED: "box", Kind.HEAD: "ellipse", Kind.MLP: "box", Kind.LOGITS: "box"}


def to_dot(circuit: Circuit, scores: EdgeScores | None = None) -> str:
    """Return a circuit as text, embedding below and logits above.

    An edge's label is the inputs that it ends at, such as q and k. With scores its width grows with their sum; those
    that hurt are dashed.
    """
    graph, values = circuit.graph, None if scores is None else scores.values
    owners = dict[int, Node]()
    for node in reversed(graph.writers):
        owners |= dict.fromkeys(graph.inputs_of(node), node)
    owners[len(graph.readers) - 1] = graph.readers[-1].node
    ports, weights = dict[tuple[Node, Node], list[str]](), dict[tuple[Node, Node], float]()
    for w, r in circuit.keep.nonzero().tolist():
        pair = (graph.writers[w], owners[r])
        ports.setdefault(pair, []).append(graph.readers[r].port)
        weights[pair] = weights.get(pair, 0.0) + (0.0 if values is None else float(values[w, r]))
    most = max(map(abs, weights.values()), default=0.0) or 1.0
    nodes = dict.fromkeys(node for pair in sorted(ports) for node in pair)
    lines = ["digraph circuit {", "  rankdir=BT;"]
    lines += [f'  "{node.name}" [shape={_SHAPES[node.kind]}];' for node in nodes]
    for pair, said in ports.items():
        style = f"penwidth={0.5 + 4 * abs(weights[pair]) / most:.2f}" + (", style=dashed" if weights[pair] < 0 else "")
        lines.append(f'  "{pair[0].name}" -> "{pair[1].name}" [label="{"".join(said)}", {style}];')
    return "\n".join([*lines, "}"]) + "\n"
