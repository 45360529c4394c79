"""What a body may be: every address that takes one says which field it does not know, and where a body is no JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient

STEER = {"prompt": "the cat", "steering": {"edits": []}}
KOREAN = {"accept-language": "ko"}


def takes_a_body(client: TestClient) -> list[tuple[str, str]]:
    """The method and address of each operation that takes an object, with the small run's name in it."""
    paths = client.get("/api/openapi.json").json()["paths"]
    named = {"run": "small", "latent": 1, "circuit": "none"}
    return [
        (method, path.format_map(named))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "requestBody" in operation
    ]


def said(client: TestClient, address: str, status: int = 422, **sent: Any) -> str:
    answer = client.post(address, **sent)
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["message"])


def test_no_address_takes_a_field_that_it_does_not_have(client: TestClient) -> None:
    operations = takes_a_body(client)
    assert len(operations) > 15
    for method, address in operations:
        kind = {"kind": "report"} if address == "/api/jobs" else {}
        answer = client.request(method, address, json={**kind, "zzz": 1})
        assert answer.status_code == 422, (address, answer.text)
        assert "body: there is no field 'zzz'. Fields: " in answer.json()["error"]["message"], address


@pytest.mark.parametrize(
    ("address", "asked", "nearest"),
    [
        ("/api/jobs", {"kind": "report", "run": "small", "langage": "ko"}, "language"),
        ("/api/jobs", {"kind": "sweep", "run": "small", **STEER, "strength": [1]}, "strengths"),
        ("/api/sweeps", {"run": "small", **STEER, "seeeds": 3}, "seeds"),
        ("/api/baselines", {"run": "small", "concept": "code", "skills": 3}, "skill_prompts"),
        ("/api/steer/cost", {"prompt": "the cat", "steering": []}, "steerings"),
        ("/api/steer/solve", {**STEER, "kl": 1, "mesages": None}, "messages"),
        ("/api/steer/save", {"steering": {"edits": []}, "runs": "small"}, "run"),
    ],
)
def test_the_nearest_name_is_said(client: TestClient, address: str, asked: Mapping[str, Any], nearest: str) -> None:
    assert f"Did you mean '{nearest}'" in said(client, address, json=asked)


def test_a_direction_that_is_to_be_made_has_no_other_fields(client: TestClient) -> None:
    edit = {"direction": {"name": "joy", "postive": ["a"]}, "add": 1}
    text = said(client, "/api/steer/solve", json={"prompt": "a", "kl": 1, "steering": {"edits": [edit]}})
    assert text.startswith("The request can’t be read: direction: there is no field 'postive'. Did you mean 'positive'")


def test_the_shape_of_a_job_is_told_in_the_words_of_other_requests(client: TestClient) -> None:
    asked = {"kind": "sweep", "run": "small", **STEER, "seeds": 0}
    job, own = said(client, "/api/jobs", json=asked), said(client, "/api/sweeps", json={**asked, "kind": None})
    assert job == "The request can’t be read: body.seeds: must be at least 1."
    assert "there is no field 'kind'" in own
    korean = said(client, "/api/jobs", json=asked, headers=KOREAN)
    assert korean == "요청을 읽을 수 없습니다: body.seeds: 1 이상이어야 합니다."
    assert "Did you mean 'report'" in said(client, "/api/jobs", 400, json={"kind": "repot"})


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("{'run': 1}", "it can’t be read from character 2 on, \"'run': 1}\""),
        ('{"prompt": "a",', "it ends too early"),
        ("prompt=a", "it can’t be read from character 1 on, 'prompt=a'"),
        ('{"prompt": "a"} x', "it can’t be read from character 17 on, 'x'"),
    ],
)
def test_a_body_that_is_no_json_is_told_where(client: TestClient, body: str, where: str) -> None:
    json = {"content-type": "application/json"}
    text = said(client, "/api/steer/solve", content=body, headers=json)
    fields = "An object with these fields is expected: prompt, messages, run, steering, kl."
    assert text == f"The request’s body is no JSON: {where}. {fields}"
    korean = said(client, "/api/steer/solve", content=body, headers={**json, **KOREAN})
    assert korean.startswith("요청의 본문은 JSON이 아닙니다: ")
    assert not {"can’t", "early", "expected"} & set(korean.split())


def test_json_of_another_type_is_told_so(client: TestClient) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    text = said(client, "/api/steer/solve", content='{"prompt": "a"}', headers=form)
    assert "its content type is 'application/x-www-form-urlencoded', not 'application/json'" in text
    assert "its content type is not 'application/json'" in said(client, "/api/steer/solve", content='{"prompt": "a"}')
    assert "body: is missing" in said(client, "/api/steer/solve")
    assert "body: must be an object" in said(client, "/api/steer/solve", json=[1])


def test_half_a_character_is_refused_in_our_own_words(client: TestClient) -> None:
    text = said(client, "/api/generate", content='{"prompt": "\\ud800"}', headers={"content-type": "application/json"})
    assert text == "The request can’t be read: body.prompt: half a character (a lone surrogate) is no text."
