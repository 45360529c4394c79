"""Sweeps over HTTP: jobs of the worker, the same as the library's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from monosema.models import load_model
from monosema.runs import Run
from monosema.server import create_app
from monosema.steering import Resolver, Steering, SweepConfig, SweepResult, at_strengths, sweep


@pytest.fixture(scope="module")
def client(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    jobs: Path = tmp_path_factory.mktemp("jobs")
    with TestClient(create_app([finished.folder], jobs=jobs), base_url="http://localhost") as client:
        yield client


def test_a_sweep_is_a_job_with_the_librarys_result(client: TestClient, finished: Run) -> None:
    latent = next(iter(finished.atlas().features(limit=1)))["latent"]
    spec = {"edits": [{"latent": latent, "add": 1.0, "unit": "max"}]}
    asked = {"run": "run", "steering": spec, "prompt": "the cat", "strengths": [0, 2], "seeds": 2, "max_new_tokens": 5}
    made = client.post("/api/sweeps", json=asked)
    assert made.status_code == 201, made.text
    id = made.json()["id"]
    followed = client.get(f"/api/jobs/{id}/events").text
    assert "event: progress" in followed
    got = SweepResult.from_dict(client.get(f"/api/jobs/{id}/result").json())
    model = load_model(finished.recipe.model.name, dtype="float32")
    steering = Steering.from_dict(spec, Resolver.of(finished.folder))
    wanted = sweep(model, ["the cat"], at_strengths(steering, [0.0, 2.0]), SweepConfig(max_new_tokens=5, seeds=(0, 1)))
    assert got == wanted
    again = client.post("/api/jobs", json={"kind": "sweep", **asked})
    assert again.json()["title"] == "Sweep of 2 strengths"


def test_what_cannot_be_swept_is_refused(client: TestClient) -> None:
    asked = {"run": "run", "steering": {"edits": []}}
    assert client.post("/api/sweeps", json=asked).status_code == 422
    assert client.post("/api/sweeps", json={**asked, "prompt": "a", "run": "none"}).status_code == 404
    assert client.post("/api/baselines", json={"run": "run", "concept": "flight"}).status_code == 422


def test_a_comparison_with_baselines_is_a_job_that_can_be_cancelled(client: TestClient) -> None:
    asked = {"run": "run", "concept": "sentiment", "kl": [0.5], "skill_prompts": 0, "max_new_tokens": 2, "seeds": 1}
    id = client.post("/api/baselines", json=asked).json()["id"]
    assert client.delete(f"/api/jobs/{id}").status_code == 202
    assert '"state": "cancelled"' in client.get(f"/api/jobs/{id}/events").text
