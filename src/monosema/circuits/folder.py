"""A circuit's folder: what was found, as files that other programs read.

circuit.json          task, model, ablation, metric; names of the edges; the judgement
scores.safetensors    `scores`, [writers, readers]: means over prompts; names of both in the metadata
graph.json            what the page shows
circuit.dot           for Graphviz
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from monosema.circuits.circuit import Circuit
from monosema.circuits.dot import to_dot
from monosema.circuits.graph import Graph
from monosema.circuits.scores import EdgeScores
from monosema.circuits.shown import ShownGraph
from monosema.core import FormatError, atomic_path, read_json, write_json

FILE = "circuit.json"


def write_circuit(
    folder: Path, circuit: Circuit, scores: EdgeScores | None, shown: ShownGraph | None, about: Mapping[str, Any]
) -> None:
    """Write a circuit, with its scores and the graph to look at where there are any."""
    write_json(folder / FILE, {**about, "edges": circuit.edge_names()})
    with atomic_path(folder / "circuit.dot") as temporary:
        temporary.write_text(to_dot(circuit, scores), encoding="utf-8")
    if scores is not None:
        graph = scores.graph
        names = {
            "writers": json.dumps([one.name for one in graph.writers]),
            "readers": json.dumps([one.name for one in graph.readers]),
            "method": scores.about.method,
        }
        with atomic_path(folder / "scores.safetensors") as temporary:
            save_file({"scores": scores.values.contiguous()}, temporary, metadata=names)
    if shown is not None:
        shown.write(folder)


def read_circuit(path: Path, graph: Graph) -> Circuit:
    """Read a circuit from its file or folder: a JSON object with the names of `edges`, or of `nodes`, and what else.

    Raises:
        FormatError: another file.
        InputError: an edge or node that this graph doesn't have.
    """
    path = path / FILE if path.is_dir() else path
    value = read_json(path)
    for key in ("edges", "nodes"):
        names = value.get(key) if isinstance(value, dict) else None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return Circuit.of_edges(graph, names) if key == "edges" else Circuit.of_nodes(graph, graph.nodes(names))
    raise FormatError(f'{path} holds no circuit: {{"edges": ["embed->a0.h1<q>", …]}} or {{"nodes": ["a0.h1", …]}}.')
