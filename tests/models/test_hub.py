"""Models from the hub: a server on this machine answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT, OLD_COMMIT = "a" * 40, "b" * 40
REVISIONS = {"main": COMMIT, COMMIT: COMMIT, "step3000": OLD_COMMIT, OLD_COMMIT: OLD_COMMIT}


class Hub(BaseHTTPRequestHandler):
    """The few answers that fetching a snapshot needs."""

    folder: Path
    asked: list[str]

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        path = self.path.split("?")[0]
        self.asked.append(path)
        if "closed/model" in path:
            return self.refuse(403, "GatedRepo")
        if "owner/tiny" not in path and "owner/pickled" not in path:
            return self.refuse(404, "RepoNotFound")
        parts = path.strip("/").split("/")
        revision = parts[-1] if parts[0] == "api" else parts[3]
        if revision not in REVISIONS:
            return self.refuse(404, "RevisionNotFound")
        if parts[0] == "api":
            content = self.tree() if parts[-2] == "tree" else self.description(revision)
            return self.answer(json.dumps(content).encode(), body)
        content = (self.folder / parts[-1]).read_bytes()
        name = hashlib.sha256(content).hexdigest()
        return self.answer(content, body, {"ETag": f'"{name}"', "X-Repo-Commit": REVISIONS[revision]})

    def files(self) -> list[Path]:
        pickled = "pickled" in self.path
        return [path for path in sorted(self.folder.iterdir()) if not (pickled and path.suffix == ".safetensors")]

    def tree(self) -> list[dict[str, Any]]:
        return [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40} for f in self.files()]

    def description(self, revision: str) -> dict[str, Any]:
        names = [{"rfilename": path.name} for path in self.files()]
        return {"id": "owner/tiny", "sha": REVISIONS[revision], "siblings": names, "private": False, "tags": []}

    def answer(self, content: bytes, body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def refuse(self, code: int, reason: str) -> None:
        self.send_response(code)
        self.send_header("X-Error-Code", reason)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def hub(foreign: Any) -> Iterator[tuple[str, list[str]]]:
    handler = type("ThisHub", (Hub,), {"folder": foreign("llama-gqa-tied")[1], "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


SCRIPT = """
import json, sys
from monosema.core import MonosemaError
from monosema.models import load_model, model_facts
answers = {}
for name in sys.argv[2:]:
    try:
        answers[name] = load_model(name).digest if sys.argv[1] == "load" else model_facts(name).parameters["total"]
    except MonosemaError as error:
        answers[name] = f"{type(error).__name__}: {error}"
print(json.dumps([answers, "transformers" in sys.modules]))
"""


def ask(home: Path, endpoint: str, what: str, *names: str, offline: bool = False) -> tuple[dict[str, Any], bool]:
    """What a fresh process says about models of these names, and whether it imported transformers."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment |= {
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-c", SCRIPT, what, *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers, imported = json.loads(done.stdout.splitlines()[-1])
    return answers, imported


@pytest.mark.slow
def test_the_hub_and_its_cache(hub: tuple[str, list[str]], foreign: Any, tmp_path: Path) -> None:
    from monosema.models import load_model

    endpoint, asked = hub
    digest = load_model(foreign("llama-gqa-tied")[1]).digest
    facts, _ = ask(tmp_path / "facts", endpoint, "facts", "owner/tiny")
    assert facts["owner/tiny"] > 0
    assert not any(path.endswith("safetensors") for path in asked), "facts need no weights"

    names = (
        "owner/tiny",
        "owner/tiny@step3000",
        "owner/tiny@step9",
        "owner/none",
        "closed/model",
        "owner/pickled",
        "x y",
    )
    answers, imported = ask(tmp_path, endpoint, "load", *names)
    assert not imported, "our own decoder needs nothing of transformers"
    assert answers["owner/tiny"] == answers["owner/tiny@step3000"] == digest
    assert f"/owner/tiny/resolve/{OLD_COMMIT}/model.safetensors" in asked
    assert "UnknownModelError: 'owner/tiny' has no revision 'step9'" in answers["owner/tiny@step9"]
    assert "UnknownModelError: There is no model 'owner/none' on the hub" in answers["owner/none"]
    assert "UnknownModelError: 'closed/model' is given to registered users only" in answers["closed/model"]
    assert "UnsupportedModelError: 'owner/pickled' has no safetensors" in answers["owner/pickled"]
    assert "UnknownModelError: 'x y' is no model" in answers["x y"]

    answers, _ = ask(tmp_path, endpoint, "load", "owner/tiny", "owner/other", offline=True)
    assert answers["owner/tiny"] == digest, "what was fetched is there without a network"
    assert "the hub can't be reached" in answers["owner/other"]
    answers, _ = ask(tmp_path, "http://127.0.0.1:9", "load", "owner/other")
    assert "UnknownModelError" in answers["owner/other"]
    assert "the hub can't be reached" in answers["owner/other"]
