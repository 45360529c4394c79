"""Graphs as pages see them: the important first, written and read again alike, damage named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from monosema.circuits import (
    Circuit,
    EdgeScores,
    Graph,
    Kept,
    Provenance,
    ShownEdge,
    ShownGraph,
    ShownNode,
    component_graph,
    show_circuit,
)
from monosema.circuits.shown import shown_in
from monosema.core import Estimate, FormatError
from monosema.models import random_model

ABOUT = Provenance(
    method="made up", ablation="resample", metric="logit_difference", task="letters", model="random", n=2,
    forward=1.0, backward=1.0, seconds=0.1,
)  # fmt: skip
HALF = Kept(size=3, faithfulness=Estimate(0.5, 0.4, 0.6, 2), random=Estimate(0.1, 0.0, 0.2, 2))


def scores_of(graph: Graph) -> EdgeScores:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, *graph.allowed.shape, generator=generator) * graph.allowed
    return EdgeScores(graph=graph, by_prompt=values, about=ABOUT)


@pytest.fixture(scope="module")
def scores() -> EdgeScores:
    return scores_of(component_graph(random_model()))


def test_the_first_n_edges_are_the_circuit_of_n_edges(scores: EdgeScores) -> None:
    shown = show_circuit(scores, title="T", curve=[HALF], most=12)
    names = [edge.name for edge in shown.edges]
    assert len(names) == 12
    assert shown.total == scores.graph.n_edges
    for n in (1, 5, 12):
        assert {*names[:n]} == {*Circuit.top(scores, n).edge_names()}


def test_edges_end_at_the_nodes_that_their_names_say(scores: EdgeScores) -> None:
    shown = show_circuit(scores, title="T")
    for edge in shown.edges:
        writer, reader = edge.name.split("->")
        assert shown.nodes[edge.source].name == writer
        if not reader.endswith(("<k>", "<v>")):  # These are shared.
            assert shown.nodes[edge.target].name == reader.partition("<")[0]


def test_shared_keys_are_drawn_to_the_first_head_that_reads_them() -> None:
    graph = component_graph(random_model())  # Four heads, of which two share a key.
    shown = show_circuit(scores_of(graph), title="T")
    ends = {shown.nodes[edge.target].name for edge in shown.edges if edge.name.endswith("a1.h1<k>")}
    assert ends == {"a1.h2"}


def test_a_written_graph_is_read_as_it_was(tmp_path: Path, scores: EdgeScores) -> None:
    shown = show_circuit(scores, title="T", curve=[HALF], notes=["a note"])
    shown.write(tmp_path)
    assert ShownGraph.read(tmp_path) == shown


def test_a_run_s_graphs_are_found_by_name_without_those_that_can_not_be_read(
    tmp_path: Path, scores: EdgeScores
) -> None:
    for name in ("b", "a"):
        show_circuit(scores, title=name).write(tmp_path / "circuits" / name)
    (tmp_path / "circuits" / "c").mkdir()
    (tmp_path / "circuits" / "c" / "graph.json").write_text("{}")
    assert [shown.title for shown in shown_in(tmp_path)] == ["a", "b"]


def test_a_file_of_another_form_says_what_is_wrong_with_it(tmp_path: Path, scores: EdgeScores) -> None:
    path = show_circuit(scores, title="T").write(tmp_path)
    held = json.loads(path.read_text())
    del held["nodes"][3]["layer"]
    path.write_text(json.dumps(held))
    with pytest.raises(FormatError, match=r"graph\.json.*nodes\.3\.layer"):
        ShownGraph.read(tmp_path)


def test_names_are_unique_and_edges_end_at_nodes() -> None:
    nodes = (ShownNode(name="a", kind="head", layer=0), ShownNode(name="b", kind="head", layer=1))
    rest = {"title": "T", "n_layers": 2, "total": 1}
    with pytest.raises(FormatError, match="'a'"):
        ShownGraph(unit="nodes", nodes=(nodes[0], nodes[0]), edges=(), **rest)
    with pytest.raises(FormatError, match="2 nodes"):
        ShownGraph(unit="edges", nodes=nodes, edges=(ShownEdge(source=0, target=2, weight=1.0),), **rest)
