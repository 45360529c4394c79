"""Texts over HTTP: events as they come, resumed, cancelled, refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from monosema.models import load_model
from monosema.runs import Run
from monosema.server import create_app


@pytest.fixture(scope="module")
def client(finished: Run) -> Iterator[TestClient]:
    with TestClient(create_app([finished.folder]), base_url="http://localhost") as client:
        yield client


def events(body: str) -> list[tuple[str, dict[str, Any]]]:
    fields = [
        dict(line.split(": ", 1) for line in block.splitlines()) for block in body.split("\n\n") if "data: " in block
    ]
    return [(one["event"], json.loads(one["data"])) for one in fields]


def test_a_text_comes_as_events_and_can_be_read_again_from_anywhere(client: TestClient, finished: Run) -> None:
    asked = {"prompt": "the cat", "max_new_tokens": 6, "temperature": 1.0, "seed": 3, "steerings": [None, None]}
    answer = client.post("/api/generate", json=asked)
    assert answer.headers["content-type"].startswith("text/event-stream")
    got = events(answer.text)
    assert [kind for kind, _ in got] == ["start", *["delta"] * 12, "end"]
    model = load_model(finished.recipe.model.name, dtype="float32")
    wanted = model.generate("the cat", max_new_tokens=6, temperature=1.0, seed=3).text
    for row in (0, 1):
        assert "".join(data["text"] for kind, data in got if kind == "delta" and data["row"] == row) == wanted
    id = got[0][1]["id"]
    assert events(client.get(f"/api/generate/{id}", headers={"Last-Event-ID": "10"}).text) == got[10:]
    assert events(client.get(f"/api/generate/{id}", params={"after": 13}).text) == got[13:]
    assert client.delete(f"/api/generate/{id}").status_code == 204


def test_what_cannot_be_written_is_said(client: TestClient) -> None:
    def refused(status: int, **asked: Any) -> str:
        answer = client.post("/api/generate", json=asked)
        assert answer.status_code == status
        return str(answer.json()["error"]["message"])

    assert "either prompt or messages" in refused(422)
    assert "no room" in refused(400, prompt="x" * 500)
    assert "no chat template" in refused(400, messages=[{"role": "user", "content": "hi"}])
    assert "no run" in refused(404, prompt="a", run="nothing")
    half = client.post("/api/generate", content=b'{"prompt": "\\ud800"}', headers={"content-type": "application/json"})
    assert half.status_code == 422
    assert "no such text" in client.get("/api/generate/0").json()["error"]["message"]
