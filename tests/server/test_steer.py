"""Steerings over HTTP: their price, the strength for a price, and baselines of the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from monosema.runs import Run
from monosema.server import create_app
from monosema.steering import Add, Resolver, read_steering


@pytest.fixture(scope="module")
def client(finished: Run) -> Iterator[TestClient]:
    with TestClient(create_app([finished.folder]), base_url="http://127.0.0.1") as client:
        yield client


def pushed(amount: float, **more: Any) -> dict[str, Any]:
    return {"edits": [{"latent": 3, "add": amount, "unit": "raw", **more}]}


def costs(client: TestClient, *steerings: dict[str, Any] | None) -> list[dict[str, Any]]:
    answer = client.post("/api/steer/cost", json={"prompt": "the cat sat", "steerings": list(steerings)})
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["costs"]
    return found


def test_a_stronger_steering_costs_more_and_none_costs_nothing(client: TestClient) -> None:
    zero, weak, strong, none = costs(client, pushed(0.0), pushed(1.0), pushed(4.0), None)
    assert none == {"kl": None, "problem": None}
    assert zero["kl"] == pytest.approx(0, abs=1e-6)
    assert 0 < weak["kl"] < strong["kl"]


def test_what_can_not_be_applied_is_said_and_the_others_are_priced(client: TestClient) -> None:
    absent = {"edits": [{"latent": 999, "add": 1}]}
    nowhere, unknown, good = costs(client, pushed(1.0, prompt=[50, 60], generated=None), absent, pushed(1.0))
    assert "none of the tokens" in nowhere["problem"]
    assert "latent = 999 is not valid" in unknown["problem"]
    assert good["problem"] is None


def test_the_strength_for_a_price_has_that_price(client: TestClient) -> None:
    asked = {"prompt": "the cat sat", "steering": pushed(1.0), "kl": 0.1}
    strength = client.post("/api/steer/solve", json=asked).json()["strength"]
    (cost,) = costs(client, {**pushed(1.0), "strength": strength})
    assert cost["kl"] == pytest.approx(0.1, rel=0.05)
    beyond = client.post("/api/steer/solve", json={**asked, "steering": pushed(0.0)}).json()
    assert beyond["strength"] is None


def test_baselines_cost_what_the_steering_costs(client: TestClient) -> None:
    own = costs(client, pushed(4.0))[0]["kl"]
    answer = client.post("/api/steer/baselines", json={"prompt": "the cat sat", "steering": pushed(4.0)}).json()
    found = answer["baselines"]
    assert [one["name"].rstrip("0123456789") for one in found] == ["random latent ", "random direction"]
    for one in costs(client, *({"edits": baseline["edits"]} for baseline in found)):
        assert one["kl"] == pytest.approx(own, rel=0.06)


def test_texts_are_written_under_a_steering(client: TestClient) -> None:
    asked = {"prompt": "the cat", "max_new_tokens": 3, "steerings": [None, pushed(8.0)]}
    text = client.post("/api/generate", json=asked).text
    assert '"edited": true' in text
    assert client.post("/api/generate", json={**asked, "steerings": [{"edits": 3}]}).status_code == 400


def test_a_steering_is_saved_as_a_file_that_reads_the_same(client: TestClient, finished: Run, tmp_path: Path) -> None:
    made = {"name": "joy", "positive": ["I loved it."], "negative": ["I hated it."]}
    steering = {"edits": [*pushed(2.0)["edits"], {"direction": made, "add": 1.0}]}
    answer = client.post("/api/steer/save?format=toml", json={"steering": steering})
    assert answer.headers["content-disposition"] == 'attachment; filename="steering.toml"'
    file = tmp_path / "steering.toml"
    file.write_bytes(answer.content)
    latent, direction = read_steering(file, Resolver.of(finished.folder)).edits
    assert (latent.coordinate.name, latent.move) == ("3", Add(2.0))
    assert direction.coordinate.name == "joy"


def test_a_direction_says_which_of_its_fields_is_wrong(client: TestClient) -> None:
    wrong = {"edits": [{"direction": {"name": "joy", "random": -1}, "add": 1.0}]}
    (cost,) = costs(client, wrong)
    assert "direction.random" in cost["problem"]


def held(client: TestClient, steering: dict[str, Any], written: list[int]) -> Any:
    return client.post("/api/steer/held", json={"prompt": "the cat sat", "steering": steering, "written": written})


def along(site: str, amount: float = 4.0) -> dict[str, Any]:
    return {"edits": [{"direction": {"random": 0, "site": site}, "add": amount, "unit": "raw"}]}


def test_attention_held_leaves_less_or_other_than_attention_free(client: TestClient) -> None:
    answer = held(client, along("0.resid_post"), [5, 6, 7])
    assert answer.status_code == 200, answer.text
    tokens = answer.json()["tokens"]
    assert [one["token"] for one in tokens] == [5, 6, 7]
    assert all(one["kl"] > 0 and one["free"] > 0 for one in tokens)
    assert any(abs(one["kl"] - one["free"]) > 1e-6 for one in tokens)
    for one in held(client, along("0.resid_post", 0.0), [5, 6]).json()["tokens"]:
        assert one["kl"] == pytest.approx(0, abs=1e-5)
        assert one["likely"][0][0] == one["untouched"][0][0]


def test_behind_the_last_attention_holding_it_changes_nothing(client: TestClient) -> None:
    for one in held(client, along("1.resid_post"), [5, 6, 7]).json()["tokens"]:
        assert one["kl"] == pytest.approx(one["free"], rel=1e-4)
        assert one["kl"] > 0


def test_a_text_that_is_none_of_the_models_is_refused(client: TestClient) -> None:
    assert held(client, pushed(1.0), [10**6]).status_code == 400
    assert "longer than the model reads" in held(client, pushed(1.0), [5] * 2000).json()["error"]["message"]
