"""Runs as cards and in full, their metrics and charts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient

from monosema.server import create_app
from monosema.server.metrics import read_metrics
from monosema.server.schemas import Metrics, RunDetail, RunList


def test_a_card_says_what_the_run_is_and_how_it_did(client: TestClient) -> None:
    found = client.get("/api/runs").json()
    RunList.model_validate(found)
    (card,) = found["runs"]
    assert (card["name"], card["site"], card["n_latents"]) == ("small", "1.resid_post", 64)
    assert {stage["state"] for stage in card["stages"]} == {"done"}
    assert card["metrics"]["fvu"]["low"] <= card["metrics"]["fvu"]["value"] <= card["metrics"]["fvu"]["high"]


def test_a_run_in_full_has_its_evaluation_beside_controls(client: TestClient) -> None:
    found = client.get("/api/runs/small").json()
    RunDetail.model_validate(found)
    assert found["evaluation"]["rows"][0]["kind"] == "dictionary"
    assert len(found["evaluation"]["rows"]) > 1
    assert found["recipe"]["site"] == "1.resid_post"


def test_a_damaged_run_is_shown_with_what_is_wrong(served_run: Path, tmp_path: Path) -> None:
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "recipe.toml").write_text("name = [", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "recipe.toml").write_bytes((served_run / "recipe.toml").read_bytes())
    with TestClient(create_app([tmp_path]), base_url="http://localhost") as client:
        cards = {card["name"]: card for card in client.get("/api/runs").json()["runs"]}
        assert "recipe.toml" in cards["torn"]["problem"]
        assert cards["empty"]["problem"] is None
        assert {stage["state"] for stage in cards["empty"]["stages"]} == {"waiting"}
        answer = client.get("/api/runs/empty/features")
        assert answer.status_code == 400
        assert "no atlas yet" in answer.json()["error"]["message"]
        assert client.get("/runs/empty").status_code == 200
        assert client.get("/runs/torn").status_code == 200


def test_an_unknown_run_is_not_found_and_near_names_are_said(client: TestClient) -> None:
    answer = client.get("/api/runs/smal")
    assert answer.status_code == 404
    assert "Did you mean 'small'" in answer.json()["error"]["message"]


def test_metrics_go_on_from_where_a_reader_was(client: TestClient) -> None:
    everything = client.get("/api/runs/small/metrics").json()
    Metrics.model_validate(everything)
    assert everything["lines"][0]["step"] < everything["lines"][-1]["step"]
    assert client.get("/api/runs/small/metrics", params={"after": everything["next"]}).json()["lines"] == []


def test_a_long_file_of_metrics_is_thinned_from_end_to_end_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": n, "tokens": 8 * n, "fvu": 1 / n, "text": "x" * (n % 200)}) for n in range(1, 20_001)]
    path.write_text("\n".join(lines) + '\n{"step": 20001, "tok', encoding="utf-8")
    found, end = read_metrics(path, most=100)
    steps = [line["step"] for line in found]
    assert steps[0] == 1
    assert steps[-1] == 20_000
    assert steps == sorted(set(steps))
    assert 90 <= len(steps) <= 101
    assert max(b - a for a, b in itertools.pairwise(steps)) < 500
    with open(path, "a", encoding="utf-8") as file:
        file.write('ens": 1}\n')
    assert [line["step"] for line in read_metrics(path, end)[0]] == [20_001]
    path.write_text(lines[0] + "\n", encoding="utf-8")  # begun anew
    assert [line["step"] for line in read_metrics(path, end)[0]] == [1]


@pytest.mark.parametrize("name", ["curve-fvu", "curve-lr", "losses", "densities", "map", "map-narrow"])
def test_charts_are_pictures(name: str, client: TestClient) -> None:
    answer = client.get(f"/api/runs/small/charts/{name}.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert ElementTree.fromstring(answer.content).tag.endswith("svg")


@pytest.mark.parametrize(
    "address", ["nothing.svg", "shares.svg", "curve-nothing.svg", "curve-fvu.svg?low=1e12", "curve-fvu.svg?with=other"]
)
def test_a_chart_that_there_is_not_is_not_found(address: str, client: TestClient) -> None:
    assert client.get(f"/api/runs/small/charts/{address}").status_code == 404


def test_the_map_has_a_dot_for_each_feature_that_fired(client: TestClient) -> None:
    dots = client.get("/api/runs/small/charts/map.json").json()
    assert len(dots["latent"]) == len(dots["density"]) == len(dots["height"]) == len(dots["labels"]) > 10
    assert dots["x"][0] <= min(dots["density"]) <= max(dots["density"]) <= dots["x"][1]
