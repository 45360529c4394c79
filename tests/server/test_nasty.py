"""Tokens of a hundred thousand characters, of mark-up and of invisible signs, and requests full of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from monosema.atlas.tables import describe
from monosema.core import read_json, write_json
from monosema.server import create_app

NASTY = [
    "</script><script>alert(1)</script>",
    "\u202eabc",
    "\u200b\u200b",
    "\x00",
    "a\nb\tc\\",
    "'\"&<>",
    "%",
]
LONG = "𝔘" * 100_000
FEATURES = "/api/runs/nasty/features"


@pytest.fixture(scope="module")
def client(served_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a run whose most used tokens are nasty ones."""
    folder = tmp_path_factory.mktemp("nasty") / "nasty"
    shutil.copytree(served_run, folder)
    (atlas,) = (folder / "atlas").iterdir()
    meta = read_json(atlas / "meta.json")
    table = pq.read_table(atlas / meta["tables"]["vocabulary"]["file"])
    texts = table["text"].to_pylist()
    used = pq.read_table(atlas / meta["tables"]["features"]["file"])["top_token_ids"].to_pylist()
    for number, id in enumerate(dict.fromkeys(id for ids in used for id in ids)):
        texts[id] = LONG if number == 0 else NASTY[number % len(NASTY)]
    path = atlas / "vocabulary-2.parquet"
    pq.write_table(pa.table({"token": table["token"], "text": texts}, schema=table.schema), path)
    meta["tables"]["vocabulary"] = describe(path)
    write_json(atlas / "meta.json", meta)
    with TestClient(create_app([folder]), base_url="http://localhost") as client:
        yield client


def test_a_list_stays_small_whatever_tokens_are(client: TestClient) -> None:
    answer = client.get(FEATURES, params={"limit": 100})
    assert answer.status_code == 200
    assert len(answer.content) < 200_000
    assert LONG[:100] in answer.text


def test_a_feature_has_its_tokens_as_text(client: TestClient) -> None:
    found = [client.get(f"{FEATURES}/{latent}") for latent in range(12)]
    assert {answer.status_code for answer in found} == {200}
    assert {answer.headers["content-type"] for answer in found} == {"application/json"}
    said = {token for answer in found for token, _ in answer.json()["top_tokens"]}
    assert said & set(NASTY)
    assert max(len(answer.content) for answer in found) < 5_000_000


@pytest.mark.parametrize("format", ["json", "parquet", "tsv", "neuronpedia", "html"])
def test_files_hold_them(format: str, client: TestClient) -> None:
    answer = client.get(f"{FEATURES}/3/export", params={"format": format})
    assert answer.status_code == 200
    assert "<script>alert(1)" not in answer.text if format == "html" else True
    assert client.get(f"{FEATURES}/export", params={"format": format, "limit": 5}).status_code == 200


@pytest.mark.parametrize("mode", ["words", "token", "effect", "passage", "meaning"])
@pytest.mark.parametrize("text", [*NASTY, LONG[:1000], "* ( [ \\", "한국어", "-- ; drop table features", "{} %s"])
def test_nothing_that_is_searched_for_does_harm(mode: str, text: str, client: TestClient) -> None:
    assert client.get(FEATURES, params={"q": text, "mode": mode}).status_code in (200, 400)


def test_shells_of_a_nasty_run_hold_no_script_of_its_own(client: TestClient) -> None:
    for address in ("/runs/nasty", "/runs/nasty/features", "/runs/nasty/features/1"):
        assert "<script>alert(1)" not in client.get(address).text


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("/api/prompt", '{"text": "a\\ud800b"}'),
        ("/api/prompt/features", '{"text": "a", "target": "\\ud800"}'),
        ("/api/steer/cost", '{"prompt": "a\\ud800b", "steerings": [null]}'),
        (
            "/api/steer/solve",
            '{"prompt": "a", "kl": 1, "steering": {"edits": [{"direction": {"positive": ["\\ud800"]}}]}}',
        ),
    ],
)
def test_half_a_character_is_refused(address: str, asked: str, client: TestClient) -> None:
    answer = client.post(address, content=asked, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert "half a character" in answer.json()["error"]["message"]
