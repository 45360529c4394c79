"""Circuits of a run: the list, the graph, and answers where there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from monosema.circuits import ShownEdge, ShownGraph, ShownNode
from monosema.server import create_app

SHOWN = ShownGraph(
    title="two nodes",
    unit="edges",
    n_layers=1,
    nodes=(ShownNode(name="embed", kind="embed", layer=-1), ShownNode(name="logits", kind="logits", layer=1)),
    edges=(ShownEdge(source=0, target=1, weight=0.5, name="embed->logits"),),
    total=1,
    about={"task": "none", "n": 1},
)


@pytest.fixture
def client(served_run: Path, tmp_path: Path) -> Iterator[TestClient]:
    folder = tmp_path / "run"
    shutil.copytree(served_run, folder)
    SHOWN.write(folder / "circuits" / "good")
    (folder / "circuits" / "bad").mkdir()
    (folder / "circuits" / "bad" / "graph.json").write_text(json.dumps({"title": 3}))
    with TestClient(create_app([folder]), base_url="http://localhost") as client:
        yield client


def test_circuits_are_listed_and_damage_is_told(client: TestClient) -> None:
    bad, good = client.get("/api/runs/run/circuits").json()["circuits"]
    assert bad["name"] == "bad"
    assert "graph.json" in bad["problem"]
    assert good == {
        "name": "good",
        "title": "two nodes",
        "edges": 1,
        "nodes": 2,
        "about": good["about"],
        "problem": None,
    }


def test_a_graph_is_given_as_it_was_written(client: TestClient) -> None:
    given = client.get("/api/runs/run/circuits/good").json()
    assert [edge["name"] for edge in given["edges"]] == ["embed->logits"]
    assert given["nodes"][0]["layer"] == -1


def test_what_is_not_there_or_can_not_be_read_is_answered_so(client: TestClient) -> None:
    missing = client.get("/api/runs/run/circuits/goof")
    assert missing.status_code == 404
    assert "good" in missing.json()["error"]["message"]
    assert client.get("/api/runs/run/circuits/..%2F..").status_code == 404
    assert client.get("/api/runs/run/circuits/bad").status_code == 400


def test_a_circuit_that_can_not_be_tested_says_so(client: TestClient) -> None:
    asked = {"size": 1, "nodes": []}
    answer = client.post("/api/runs/run/circuits/good/test", json=asked).json()
    assert answer["faithfulness"] is None
    assert "doesn’t say which prompts" in answer["absent"]


def test_pages_of_circuits_are_served(client: TestClient) -> None:
    for address in ("/runs/run/circuits", "/runs/run/circuits/good"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert '"circuit"' in answer.text


def test_a_graph_of_latents_says_what_it_lacks_to_be_tested(client: TestClient, tmp_path: Path) -> None:
    nodes = (ShownNode(name="0_1_1", kind="latent", layer=0, column=1, latent=1),)
    replace(SHOWN, unit="nodes", nodes=nodes, edges=()).write(tmp_path / "run" / "circuits" / "latents")
    asked = {"size": 1, "nodes": ["0_1_1"]}
    answer = client.post("/api/runs/run/circuits/latents/test", json=asked).json()
    assert "which dictionaries" in answer["absent"]
    about = {"prompt": "a", "right": 1, "dictionaries": "../.."}
    replace(SHOWN, unit="nodes", nodes=nodes, edges=(), about=about, tokens=("b",)).write(
        tmp_path / "run" / "circuits" / "latents"
    )
    assert "other tokens" in client.post("/api/runs/run/circuits/latents/test", json=asked).json()["absent"]
