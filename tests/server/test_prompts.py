"""What the app says about a prompt over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from sent_events import sent_events
from starlette.testclient import TestClient

from monosema.runs import Run
from monosema.server import create_app


@pytest.fixture(scope="module")
def client(finished: Run) -> TestClient:
    return TestClient(create_app([finished.folder]), base_url="http://127.0.0.1")


def test_a_prompt_is_read(client: TestClient) -> None:
    answer = client.post("/api/prompt", json={"text": "the cat", "top": 2}).json()
    assert "".join(token["token"] for token in answer["tokens"][1:]) == "the cat"
    assert all(len(token["next"]) == 2 for token in answer["tokens"])
    assert [method["name"] for method in answer["methods"]] == ["direct", "gradient", "ablation"]
    assert answer["chat"] is False


def test_features_of_a_token_have_labels_and_effects(client: TestClient, finished: Run) -> None:
    asked = {"run": finished.folder.name, "text": "the cat sat", "position": 4}
    answer = client.post("/api/prompt/features", json=asked).json()
    assert answer["position"] == 4
    assert answer["read"] is True
    first = answer["features"][0]
    assert {"latent", "value", "kl", "effect", "label", "share"} <= set(first)
    assert first["kl"] > 0


def test_why_answers_method_by_method(client: TestClient) -> None:
    asked = {"text": "the cat sat", "target": "a", "foil": "b", "methods": ["gradient", "ablation"]}
    told = sent_events(client.post("/api/prompt/why", json=asked).text)
    assert [name for name, _ in told] == ["question", "answer", "answer", "end"]
    assert (told[0][1]["target"], told[0][1]["foil"]) == ("a", "b")
    assert [data["method"] for _, data in told[1:3]] == ["gradient", "ablation"]
    assert len(told[2][1]["tokens"]) == 12


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"run": "nowhere", "text": "a"}, 404, "no run 'nowhere'"),
        ({"text": "a", "position": 7}, 400, "no position 7: the prompt has 2 tokens"),
        ({"text": "a", "target": "not one"}, 400, "is not one token, but 'n', 'o', 't'"),
        ({"messages": [{"role": "user", "content": "a"}]}, 400, "no chat template"),
        ({}, 422, "give text or messages"),
    ],
)
def test_what_cannot_be_answered_says_why(client: TestClient, asked: dict[str, Any], status: int, said: str) -> None:
    answer = client.post("/api/prompt/features", json=asked)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]


def test_a_question_that_fails_ends_its_stream_with_the_reason(client: TestClient) -> None:
    told = sent_events(client.post("/api/prompt/why", json={"text": "a", "methods": ["crystal ball"]}).text)
    assert told[-1][0] == "error"
    assert "no method 'crystal ball'" in told[-1][1]["message"]


def test_a_prompt_is_saved_as_parquet_and_json_with_the_librarys_table(client: TestClient, finished: Run) -> None:
    import io

    import pyarrow.parquet as pq

    from monosema.atlas import fires_on
    from monosema.runs import open_model

    asked = {"text": "the cat sat"}
    answer = client.post("/api/prompt/export?format=parquet", json=asked)
    assert answer.headers["content-disposition"] == 'attachment; filename="prompt.parquet"'
    rows = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    mine = fires_on(finished.atlas(), open_model(finished.recipe), finished.dictionary(), "the cat sat", None).table()
    wanted = {(row["token"], row["latent"]): row for row in mine.to_pylist() if row["latent"] is not None}
    got = {(row["token"], row["latent"]): row for row in rows if row["latent"] is not None}
    assert got.keys() == wanted.keys()
    for key, row in got.items():
        assert row["activation"] == pytest.approx(wanted[key]["activation"], rel=1e-4)
        assert row["share"] == pytest.approx(wanted[key]["share"], rel=1e-4)
        assert row["label"] == wanted[key]["label"]
    assert client.post("/api/prompt/export", json=asked).json()["rows"] == rows
    assert client.post("/api/prompt/export?format=xls", json=asked).status_code == 422
