"""Features as files."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

FEATURES = "/api/runs/small/features"


def test_json_of_a_feature_is_what_its_page_draws(client: TestClient) -> None:
    file = client.get(f"{FEATURES}/5/export")
    assert file.json() == client.get(f"{FEATURES}/5").json()
    assert file.headers["content-disposition"] == 'attachment; filename="small-feature-5.json"'


def test_parquet_of_a_feature_has_its_passages(client: TestClient) -> None:
    shown = client.get(f"{FEATURES}/5").json()
    (row,) = pq.read_table(io.BytesIO(client.get(f"{FEATURES}/5/export?format=parquet").content)).to_pylist()
    assert [one["tokens"] for one in row["passages"]] == [one["tokens"] for one in shown["passages"]]
    assert [[one["token"], one["weight"]] for one in row["promoted"]] == shown["promoted"]


def test_a_list_is_exported_as_it_is_filtered_and_sorted(client: TestClient) -> None:
    asked: dict[str, Any] = {"sort": "density", "density": "0.01..1"}
    lines = client.get(FEATURES, params={**asked, "limit": 500}).json()["features"]
    assert client.get(f"{FEATURES}/export", params=asked).json()["features"] == lines
    table = pq.read_table(io.BytesIO(client.get(f"{FEATURES}/export", params={**asked, "format": "parquet"}).content))
    assert table["latent"].to_pylist() == [line["latent"] for line in lines]
    text = client.get(f"{FEATURES}/export", params={**asked, "format": "tsv"}).text.splitlines()
    assert len(text) == len(lines) + 1
    assert {line.count("\t") for line in text} == {text[0].count("\t")}


@pytest.mark.parametrize("address", [f"{FEATURES}/5/export", f"{FEATURES}/export?latents=5&alive=all"])
def test_neuronpedias_form_has_each_passage_and_the_tokens_it_promotes(address: str, client: TestClient) -> None:
    shown = client.get(f"{FEATURES}/5").json()
    batch = client.get(
        address, params={"format": "neuronpedia"} | ({"latents": 5, "alive": "all"} if "?" in address else {})
    ).json()
    (feature,) = batch["features"]
    assert (batch["layer"], batch["sae_set"], feature["feature_index"]) == (1, "1.resid_post-topk", 5)
    assert feature["pos_str"] == [token for token, _ in shown["promoted"]]
    assert len(feature["activations"]) == len(shown["passages"])
    for ours, theirs in zip(feature["activations"], shown["passages"], strict=True):
        assert ours["tokens"][ours["qualifying_token_index"]] == theirs["tokens"][theirs["peak"]]
        assert max(ours["values"]) == pytest.approx(theirs["maximum"], rel=1e-5)
        assert ours["bin_min"] <= theirs["maximum"] <= ours["bin_max"]


def test_a_page_of_its_own_fetches_nothing_and_holds_the_feature(client: TestClient) -> None:
    for address in (f"{FEATURES}/5/export", f"{FEATURES}/export"):
        page = client.get(address, params={"format": "html"}).text
        assert "default-src 'none'" in page
        assert "src=" not in page.split("<script")[0]
        assert "http://" not in page.replace("http://www.w3.org", "")
    shown = client.get(f"{FEATURES}/5").json()
    page = client.get(f"{FEATURES}/5/export", params={"format": "html"}).text
    held = json.loads(page.split('<script type="application/json">')[1].split("</script>")[0])
    assert held["view"] == "page"
    assert held["data"]["feature"] == shown


def test_formats_that_there_are_not_are_refused(client: TestClient) -> None:
    assert client.get(f"{FEATURES}/5/export?format=exe").status_code == 422
    assert client.get(f"{FEATURES}/64/export").status_code == 404
