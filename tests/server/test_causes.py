"""Causes of a feature over HTTP: measured once as events, then given at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from monosema.circuits import ShownGraph, ShownNode
from monosema.server import create_app


@pytest.fixture(scope="module")
def folder(served_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("causes") / "run"
    shutil.copytree(served_run, folder)
    node = ShownNode(name="1.resid_post#3", kind="latent", layer=1, latent=3, predicted=0.5)
    ShownGraph(title="one", unit="nodes", n_layers=2, nodes=(node,), edges=(), total=1).write(folder / "circuits" / "c")
    (folder / "circuits" / "bad").mkdir()
    (folder / "circuits" / "bad" / "graph.json").write_text("{")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app([folder]), base_url="http://localhost") as client:
        yield client


def events(text: str) -> list[tuple[str, dict]]:
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    return [(one["event"], json.loads(one["data"])) for one in blocks]


def test_causes_are_measured_as_events_and_kept(client: TestClient, folder: Path) -> None:
    latent = client.get("/api/runs/run/features?sort=density").json()["features"][0]["latent"]
    address = f"/api/runs/run/features/{latent}/causes"
    assert client.get(address).json()["causes"] is None
    told = events(client.post(address).text)
    assert [name for name, _ in told] == ["progress"] * 9 + ["causes"]
    causes = told[-1][1]
    assert {"input", "output", "confidence", "loss", "kl", "random_kl"} <= causes["figures"].keys()
    assert len(causes["others"]["kl"]) == len(causes["drawn"]) == 8
    assert causes["others"]["kl"] == sorted(causes["others"]["kl"])
    assert client.get(address).json()["causes"] == causes
    assert {int(path.stem) for path in folder.glob("atlas/*/causes/*.json")} == {latent, *causes["drawn"]}


def test_places_in_circuits_are_given_and_damaged_circuits_left_out(client: TestClient) -> None:
    (place,) = client.get("/api/runs/run/features/3/causes").json()["circuits"]
    assert (place["circuit"], place["node"], place["predicted"]) == ("c", "1.resid_post#3", 0.5)
    assert client.get("/api/runs/run/features/4/causes").json()["circuits"] == []


def test_another_models_causes_are_not_the_runs(folder: Path) -> None:
    with TestClient(create_app([folder], model="specimen"), base_url="http://localhost") as client:
        assert client.get("/api/runs/run/features/3/causes").json()["causes"] is None


def test_what_is_not_there_is_answered_so(client: TestClient) -> None:
    assert client.get("/api/runs/run/features/99999/causes").status_code == 404
    assert client.post("/api/runs/run/features/99999/causes").status_code == 404
