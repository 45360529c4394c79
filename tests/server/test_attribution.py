"""What the app says about a prediction over HTTP: words that it is owed to, layers, parts, steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sent_events import sent_events
from starlette.testclient import TestClient

from monosema.attribution import METHODS, Game, ask, attribute, faithfulness, tokens_of
from monosema.models import load_model
from monosema.runs import Run
from monosema.server import create_app

ASKED: dict[str, Any] = {"text": "the cat sat", "target": "a", "foil": "b"}


@pytest.fixture(scope="module")
def client(finished: Run) -> TestClient:
    return TestClient(create_app([finished.folder]), base_url="http://127.0.0.1")


def test_the_app_divides_an_answer_as_python_does(client: TestClient, finished: Run) -> None:
    asked = {**ASKED, "methods": ["occlusion", "shapley"], "players": "words", "removal": "mean"}
    told = sent_events(client.post("/api/prompt/attribute", json=asked).text)
    assert [name for name, _ in told] == ["question", "answer", "answer", "judged", "end"]
    model = load_model(finished.recipe.model.name, dtype="float32")
    question = ask(model, ASKED["text"], target=ASKED["target"], foil=ASKED["foil"])
    game = Game(model, question, tokens_of(model, question, "words", "mean"))
    for name, answer in told[1:3]:
        expected = attribute(game, answer["method"])
        assert name == "answer"
        assert answer["scores"] == pytest.approx(expected.scores.tolist(), abs=1e-4)
    pieces = told[0][1]["pieces"]
    assert [piece["text"].strip() for piece in pieces if piece["player"] is not None] == ["the", "cat", "sat"]
    judged = told[3][1]
    assert judged["methods"] == ["occlusion", "shapley"]
    assert judged["agreement"][0][0] == judged["agreement"][1][1] == 1
    expected_gains = faithfulness(game, [attribute(game, "occlusion").scores, attribute(game, "shapley").scores])
    assert list(judged["gains"]["shapley"].values()) == pytest.approx(expected_gains.orders[1].tolist(), abs=1e-4)
    assert told[0][1]["value"] == pytest.approx(game.full, abs=1e-4)


def test_a_method_that_fails_leaves_the_others(client: TestClient) -> None:
    asked = {**ASKED, "methods": ["integrated_gradients", "occlusion"], "removal": "mask"}
    told = sent_events(client.post("/api/prompt/attribute", json=asked).text)
    assert [name for name, _ in told] == ["question", "failed", "answer", "judged", "end"]
    assert "no gradient" in told[1][1]["reason"]


def test_the_question_ends_at_its_position(client: TestClient) -> None:
    told = sent_events(client.post("/api/prompt/attribute", json={**ASKED, "at": 3, "methods": ["occlusion"]}).text)
    assert len(told[0][1]["pieces"]) == 4


def test_lens_parts_and_steps_agree_on_the_answer(client: TestClient) -> None:
    lens = client.post("/api/prompt/lens", json=ASKED).json()
    n = len(lens["tokens"])
    steps = client.post("/api/prompt/steps", json=ASKED).json()
    chosen = next(step for step in steps if step["name"] == "choice")["values"]["token"]
    assert lens["reading"][-1]["top"][0]["token"] == chosen
    assert len(lens["reading"]) % n == 0
    for by in ("layer", "head", "neuron", "latent"):
        parts = client.post("/api/prompt/parts", json={**ASKED, "by": by, "most": 3}).json()
        whole = sum(part["score"] for part in parts["parts"]) + parts["rest"]
        assert whole == pytest.approx(parts["value"], abs=1e-3)


def test_attention_is_that_of_the_model(client: TestClient, finished: Run) -> None:
    asked = {**ASKED, "head": [1, 2]}
    found = client.post("/api/prompt/attention", json=asked).json()
    model = load_model(finished.recipe.model.name, dtype="float32")
    tokens = torch.tensor([model.tokenizer.encode(ASKED["text"])])
    pattern = model.activations(tokens, ["1.pattern"])["1.pattern"][0, 2]
    assert found["looks"] == pytest.approx(pattern[-1].tolist(), abs=1e-4)
    assert found["figures"]["sink"][1][2] == pytest.approx(float(pattern[1:, 0].mean()), abs=1e-4)
    layer, head = client.post("/api/prompt/attention", json=ASKED).json()["head"]
    assert 0 <= layer < model.n_layers
    assert 0 <= head < model.n_heads


@pytest.mark.parametrize(
    ("route", "asked", "status", "said"),
    [
        ("attribute", {**ASKED, "methods": ["nothing"]}, 400, "no method 'nothing'"),
        ("attribute", {**ASKED, "players": "letters"}, 422, "players"),
        ("parts", {**ASKED, "by": "thought"}, 422, "by"),
        ("attention", {**ASKED, "head": [9, 0]}, 400, "no head 0 in layer 9"),
        ("attention", {"text": ""}, 400, "two tokens or more"),
        ("steps", {**ASKED, "temperature": 0}, 422, "temperature"),
        ("lens", {**ASKED, "at": 99}, 400, "no position 99"),
        ("lens", {**ASKED, "targt": "a"}, 422, "Did you mean 'target' or 'at'? Fields: run, text"),
        ("attribute", {**ASKED, "method": ["lime"]}, 422, "Did you mean 'methods'?"),
    ],
)
def test_bad_questions_are_refused(
    client: TestClient, route: str, asked: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post(f"/api/prompt/{route}", json=asked)
    assert answer.status_code == status
    assert said in answer.text


def test_a_twin_of_another_length_is_an_error_event(client: TestClient) -> None:
    told = sent_events(client.post("/api/prompt/attribute", json={**ASKED, "twin": "the cat sat down"}).text)
    assert [name for name, _ in told] == ["error"]
    assert "exchange words for others of as many tokens" in told[0][1]["message"]


def test_what_fails_on_the_way_is_said_in_the_readers_language(client: TestClient) -> None:
    asked = {**ASKED, "twin": "the cat sat down"}
    told = sent_events(client.post("/api/prompt/attribute", json=asked, headers={"accept-language": "ko"}).text)
    assert told[0][1]["message"].startswith("반사실 프롬프트의 토큰은")
    spec = {"edits": [{"latent": 1, "add": 1, "unit": "percent"}]}
    asked = {"prompt": "the cat", "steerings": [spec]}
    (cost,) = client.post("/api/steer/cost", json=asked, headers={"accept-language": "ko"}).json()["costs"]
    assert cost["problem"].startswith("edits[0]: unit = 'percent'는 맞지 않습니다: 다음 중에서 고르세요")


def test_all_methods_are_listed(client: TestClient) -> None:
    listed = client.post("/api/prompt", json={"text": "the cat"}).json()["attribution"]
    assert [one["name"] for one in listed] == list(METHODS)
