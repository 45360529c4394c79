"""Who may talk to the app, and what it never reads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from monosema.core import RunError
from monosema.server import create_app, security
from monosema.server.security import LARGEST_BODY, Guard

HERE = "http://localhost:8000"


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "10.0.0.1", "[bad", "127.0.0.1.nip.io:8000"]
)
def test_a_name_that_is_not_this_machines_is_refused(host: str, client: TestClient) -> None:
    answer = client.get("/api/runs", headers={"host": host})
    assert answer.status_code == 403
    assert "not called" in answer.json()["error"]["message"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"])
def test_names_of_loopback_are_this_machines(host: str, client: TestClient) -> None:
    assert client.get("/api/runs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9999", "http://localhost:8000.evil.example"]
)
def test_a_page_of_another_site_is_refused(origin: str, client: TestClient) -> None:
    assert client.post("/api/runs", headers={"origin": origin}).status_code == 403


def test_a_request_that_another_site_starts_without_an_origin_is_refused(client: TestClient) -> None:
    cross = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert client.get("/api/runs", headers=cross).status_code == 403
    assert client.get("/api/runs", headers={**cross, "sec-fetch-mode": "navigate"}).status_code == 200


def test_where_a_token_is_demanded_nothing_is_given_without_it(served_run: Path) -> None:
    client = TestClient(create_app([served_run], token="sesame"), base_url=HERE, follow_redirects=False)
    for address in ("/", "/api/runs", "/static/elements.js", "/api/openapi.json"):
        assert client.get(address).status_code == 401
    assert client.get("/api/runs", headers={"authorization": "Bearer no"}).status_code == 401
    assert client.get("/api/runs", headers={"authorization": "Bearer sesame"}).status_code == 200
    came = client.get("/?token=sesame&q=1")
    assert (came.status_code, came.headers["location"]) == (303, "/?q=1")
    assert "HttpOnly" in came.headers["set-cookie"]
    assert client.get("/api/runs").status_code == 200  # by the cookie
    assert client.get("/api/runs", headers={"host": "192.168.0.7:8000"}).status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "/static/../report.py",
        "/static/%2e%2e/report.py",
        "/static/..%2freport.py",
        "/static//etc/passwd",
        "/static/app/%2e%2e/%2e%2e/%2e%2e/core/files.py",
        "/static/elements.js%00",
        "/static/..\\report.py",
        "/static/",
        "/runs/%2e%2e%2f%2e%2e%2fetc",
        "/api/runs/%2e%2e",
        "/api/runs/..%2fsmall/features",
        "/api/runs/small%00",
    ],
)
def test_no_address_leads_out_of_what_is_served(address: str, client: TestClient) -> None:
    assert client.get(address).status_code == 404


def test_a_link_that_leads_out_of_a_folder_of_runs_is_no_run(served_run: Path, tmp_path: Path) -> None:
    home = tmp_path / "runs"
    home.mkdir()
    (home / "own").mkdir()
    (home / "own" / "recipe.toml").write_bytes((served_run / "recipe.toml").read_bytes())
    (home / "link").symlink_to(served_run)
    with TestClient(create_app([home]), base_url=HERE) as client:
        assert [run["name"] for run in client.get("/api/runs").json()["runs"]] == ["own"]


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(client: TestClient) -> None:
    large = b"x" * (LARGEST_BODY + 1)
    address = "/api/runs/small/activations"
    assert client.post(address, content=large).status_code == 413
    assert client.post(address, content=iter([large])).status_code == 413
    assert client.post(address, content=b"{}", headers={"content-length": "many"}).status_code == 413


def test_a_body_that_stops_coming_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "LONGEST_WAIT", 0.01)
    sent = []

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        await receive()

    async def never() -> dict[str, str]:
        await asyncio.sleep(60)
        return {}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [(b"host", b"localhost")]}
    asyncio.run(Guard(app)(scope, never, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 408


def test_every_answer_keeps_the_page_to_this_machine(client: TestClient) -> None:
    for address in ("/", "/api/runs", "/nothing", "/static/elements.js"):
        headers = client.get(address).headers
        policy = headers["content-security-policy"]
        assert "unsafe-eval" not in policy
        assert "script-src 'self';" in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_no_shell_has_a_script_within_it(client: TestClient) -> None:
    for address in ("/", "/runs/small", "/runs/small/features", "/runs/small/features/1", "/prompt", "/steer", "/help"):
        page = client.get(address)
        assert page.status_code == 200, address
        for script in page.text.split("<script")[1:]:
            assert 'src="/static/' in script.split(">")[0] or 'type="application/json"' in script.split(">")[0]
        assert " onclick=" not in page.text


def test_a_folder_that_holds_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds none"):
        create_app([tmp_path])
    with pytest.raises(RunError, match="does not exist"):
        create_app([tmp_path / "not"])
