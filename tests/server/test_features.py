"""The list of features, searches, one feature, labels and votes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from monosema.atlas import open_atlas
from monosema.server.schemas import Activations, FeatureDetail, FeatureList
from monosema.server.searching import Searches

FEATURES = "/api/runs/small/features"


def listed(client: TestClient, **asked: Any) -> dict[str, Any]:
    """A page of the list, which must be of the schema's shape."""
    answer = client.get(FEATURES, params=asked)
    assert answer.status_code == 200, answer.text
    FeatureList.model_validate(answer.json())
    return answer.json()


def test_pages_of_the_list_make_up_the_whole_in_order(client: TestClient) -> None:
    whole = listed(client, sort="density", limit=500)["features"]
    pages = [listed(client, sort="density", limit=7, offset=offset)["features"] for offset in range(0, len(whole), 7)]
    assert [line for page in pages for line in page] == whole
    densities = [line["density"] for line in whole]
    assert densities == sorted(densities, reverse=True)


def test_filters_leave_in_what_fits_and_say_what_removed_most_where_nothing_does(client: TestClient) -> None:
    found = listed(client, alive="all", density="0.01..0.1", limit=500)
    assert found["features"]
    assert all(0.01 <= line["density"] <= 0.1 for line in found["features"])
    chosen = listed(client, alive="all", latents="3,5,40", sort="latent")
    assert [line["latent"] for line in chosen["features"]] == [3, 5, 40]
    nothing = listed(client, density="0.999..1", score="0,2")
    assert nothing["total"] == 0
    assert next(iter(nothing["removed"])) == "density"


def test_the_same_words_find_the_same_features_as_the_atlas_does(client: TestClient, served_run: Any) -> None:
    atlas = open_atlas(served_run)
    label = next(line["label"] for line in listed(client, sort="margin")["features"])
    token = next(part for line in listed(client)["features"] for part in line["top_tokens"] if part.strip())
    for word in {token.strip().lower(), label.split()[0].lower()}:
        wanted = {row["latent"]: row["relevance"] for row in atlas.search(word, limit=None)}
        wait_for_passages(client)
        found = {line["latent"]: line["fit"] for line in listed(client, q=word, limit=500)["features"]}
        # Parts of words in passages are found by the atlas alone.
        assert set(found) <= set(wanted)
        assert all(fit <= wanted[latent] + 1e-4 for latent, fit in found.items())
        assert max(found.values()) == pytest.approx(max(wanted.values()), abs=0.7)


def wait_for_passages(client: TestClient) -> None:
    """Wait for the index that is made in the background."""
    import time

    while client.get("/api/runs/small").json()["searches"]["passages"] != "ready":
        time.sleep(0.05)


@pytest.mark.parametrize("mode", ["token", "effect"])
def test_tokens_and_effects_are_searched_as_the_atlas_does(mode: str, client: TestClient, served_run: Any) -> None:
    atlas = open_atlas(served_run)
    token = atlas.sql("select top_tokens[1] as token from features where alive and promoted[1] is not null limit 1")
    search = atlas.search_token if mode == "token" else atlas.search_effect
    for word in (token[0]["token"], atlas.feature(5).promoted[0].token):
        wanted = [row["latent"] for row in search(word, limit=None)]
        assert [
            line["latent"] for line in listed(client, q=word, mode=mode, alive="all", limit=500)["features"]
        ] == wanted


def test_a_passage_finds_what_fires_on_it(client: TestClient) -> None:
    found = listed(client, q="the cat sat on the mat", mode="passage", limit=5)
    assert found["mode"] == "passage"
    assert all(" on “" in line["why"] for line in found["features"])
    read = client.post("/api/runs/small/activations", json={"text": "the cat sat on the mat", "limit": 3})
    Activations.model_validate(read.json())
    assert all(max(values) > 0 for values in read.json()["latents"].values())
    assert set(map(int, read.json()["latents"])) == {line["latent"] for line in found["features"][:3]}


def test_a_search_by_meaning_says_so_where_it_is_by_words(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from monosema.server.encoder import Encoder

    monkeypatch.setattr(Encoder, "installed", False)
    client.app.state.serving.library["small"].described.vectors.ready = False  # type: ignore[attr-defined]
    found = listed(client, q="the", mode="meaning")
    assert found["mode"] == "words"
    assert "not installed" in found["note"]


def test_an_order_by_fit_needs_a_search(client: TestClient) -> None:
    assert client.get(FEATURES, params={"sort": "fit"}).status_code == 400
    assert client.get(FEATURES, params={"sort": "share"}).status_code == 400


@pytest.mark.parametrize(
    ("asked", "said", "korean"),
    [
        ({"density": "+,.."}, "'+,..' is no range. Give two numbers", "범위가 아닙니다. 0.001,0.01처럼"),
        ({"score": "abc"}, "'abc' is no range. Give two numbers", "범위가 아닙니다. 0.001,0.01처럼"),
        ({"margin": "0.1..0.001"}, "its lower end comes first, as in 0.001,0.1.", "0.001,0.1처럼 낮은 끝을 먼저"),
        ({"latents": "1,x"}, "'1,x' is no list of numbers. Give whole numbers", "수의 목록이 아닙니다"),
        ({"on": "²"}, "'²' is no list of numbers. Give whole numbers", "수의 목록이 아닙니다"),
    ],
)
def test_a_filter_that_is_no_range_or_list_is_said(
    asked: dict[str, str], said: str, korean: str, client: TestClient
) -> None:
    for language, sentence in (("en", said), ("ko", korean)):
        answer = client.get(FEATURES, params=asked, headers={"accept-language": language})
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]["message"]


def test_a_feature_is_as_the_atlas_has_it(client: TestClient, served_run: Any) -> None:
    atlas = open_atlas(served_run)
    shown = client.get(f"{FEATURES}/5").json()
    FeatureDetail.model_validate(shown)
    feature = atlas.feature(5)
    assert [part[0] for part in shown["top_tokens"]] == [one.token for one in feature.top_tokens]
    assert shown["density"] == pytest.approx(feature.density)
    top = [one for one in shown["passages"] if one["kind"] == "top"]
    assert [tuple(one["tokens"]) for one in top] == [one.tokens for one in feature.top]
    for ours, theirs in zip(top, feature.top, strict=True):
        assert ours["activations"] == pytest.approx(theirs.activations, abs=theirs.maximum / 255)


def test_what_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    for address in (FEATURES, f"{FEATURES}/5"):
        tag = client.get(address).headers["etag"]
        assert client.get(address, headers={"if-none-match": tag}).status_code == 304


def test_a_person_labels_a_feature_and_takes_it_back(client: TestClient) -> None:
    before = client.get(f"{FEATURES}/6").json()["label"]
    tag = client.get(f"{FEATURES}/6").headers["etag"]
    given = client.post(f"{FEATURES}/6/label", json={"text": "names of <b>cats</b>", "author": "me"}).json()
    assert (given["label"], given["label_author"]) == ("names of <b>cats</b>", "me")
    assert client.get(f"{FEATURES}/6", headers={"if-none-match": tag}).json()["label"] == given["label"]
    assert [line["latent"] for line in listed(client, q="names of cats")["features"]] == [6]
    voted = client.post(f"{FEATURES}/6/vote", json={"vote": 1, "voter": "you"}).json()
    assert [(one["voter"], one["vote"]) for one in voted["votes"]] == [("you", 1)]
    assert client.post(f"{FEATURES}/6/vote", json={"vote": 0, "voter": "you"}).json()["votes"] == []
    assert client.post(f"{FEATURES}/6/label", json={"text": " ", "author": "me"}).json()["label"] == before
    assert client.post(f"{FEATURES}/6/label", json={"text": "", "author": "me"}).status_code == 400


@pytest.mark.parametrize("latent", [64, 2**31 - 1])
def test_a_feature_that_there_is_not_is_not_found(latent: int, client: TestClient) -> None:
    assert client.get(f"{FEATURES}/{latent}").status_code == 404
    assert client.post(f"{FEATURES}/{latent}/label", json={"text": "x", "author": "me"}).status_code == 404
    asked = {"text": "the cat", "latents": [latent]}
    assert client.post("/api/runs/small/activations", json=asked).status_code == 404


def test_passages_that_were_given_up_are_not_searched(client: TestClient) -> None:
    described = client.app.state.serving.library["small"].described  # type: ignore[attr-defined]
    searches = Searches(described.tables)
    searches.read_passages(described.atlas.file("examples"), lambda: False)
    assert searches.passages is None


def test_a_search_whose_passages_are_not_read_yet_says_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_passages(client)
    whole = listed(client, q="the")
    assert (whole["waits"], whole["note"]) == (False, None)
    described = client.app.state.serving.library["small"].described
    monkeypatch.setattr("monosema.server.described.LONGEST_WAIT", 0.01)
    monkeypatch.setattr(described.searches, "passages", None)
    found = listed(client, q="the")
    assert found["waits"]
    assert "still being read" in found["note"]
    assert found["total"] <= whole["total"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"temperature": "nan"}, "body.temperature: NaN이나 무한대가 아닌 숫자여야 합니다"),
        ({"max_new_tokens": 0}, "body.max_new_tokens: 0보다 커야 합니다"),
        ({"prompt": ""}, "body.prompt: 비어 있으면 안 됩니다"),
        ({"stop": [""]}, "body.stop.0: 비어 있으면 안 됩니다"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_in_the_readers_language(
    body: dict[str, Any], said: str, client: TestClient
) -> None:
    answer = client.post("/api/generate", json={"prompt": "a", **body}, headers={"accept-language": "ko"})
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize("address", ["/nope", "/runs/nope", "/runs/small/features/x"])
def test_an_address_that_leads_nowhere_is_a_page_for_a_browser_and_json_else(address: str, client: TestClient) -> None:
    page = client.get(address, headers={"accept": "text/html", "accept-language": "ko"})
    assert page.status_code in (404, 422)
    assert '<a class="action" href="/">' in page.text
    assert '"language":"ko"' in page.text.replace(" ", "")
    assert client.get(address).json()["error"]["message"]


def test_errors_are_in_the_readers_language(client: TestClient) -> None:
    answer = client.get("/api/runs/none", headers={"accept-language": "ko-KR,ko;q=0.9,en;q=0.8"})
    assert "실행" in answer.json()["error"]["message"]


def test_features_and_their_searches_do_not_import_pandas(served_run: Path) -> None:
    """Arrow imports it, for nothing, unless it is handed nothing of Python's."""
    code = """
import sys
from pathlib import Path
from monosema.server.library import ServedRun

described = ServedRun("small", Path(sys.argv[1])).described
described.tables.feature(0)
for mode in ("words", "token", "effect"):
    described.find("the", mode)
described.close()
assert "pyarrow" in sys.modules
print("pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, str(served_run)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
