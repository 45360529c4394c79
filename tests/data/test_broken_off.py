"""A streamed dataset that breaks off: an error that says where, and the same texts when it is asked again."""

from __future__ import annotations

import gzip
import io
import json
import threading
import time
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monosema.core import CorpusError
from monosema.data.hub import HubCorpus

TEXTS = [f"text {number} " + "word " * (number % 50) for number in range(4000)]


COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """A hub with one dataset of one file, which drops the connection after `cut` bytes of it, until that is None."""

    name: str
    content: bytes
    cut: int | None

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()).get("paths", [])
        self.say([self.entry()] if self.name in asked else [])

    def entry(self) -> dict[str, Any]:
        return {"type": "file", "path": self.name, "oid": "b" * 40, "size": len(self.content)}

    def say(self, value: Any, code: int = 200) -> None:
        self.give(json.dumps(value).encode(), code, {"Content-Type": "application/json"})

    def give(self, content: bytes, code: int, headers: dict[str, str], sent: int | None = None) -> None:
        self.send_response(code)
        for key, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:sent])
        self.close_connection = True

    def answer(self, body: bool) -> None:
        path = urlsplit(self.path).path.strip("/")
        if "/tree/" in path:
            return self.say([self.entry()])
        if path.startswith("api/"):
            files = [{"rfilename": self.name}]
            return self.say({"id": "owner/name", "sha": COMMIT, "siblings": files, "private": False, "tags": []})
        if not path.endswith(self.name):
            return self.give(b"{}", 404, {"X-Error-Code": "EntryNotFound"})
        said = (self.headers.get("Range") or "").removeprefix("bytes=")
        first, _, last = said.partition("-")
        start, stop = int(first or 0), min(int(last or len(self.content) - 1) + 1, len(self.content))
        whole = f"bytes {start}-{stop - 1}/{len(self.content)}"
        headers = {"Accept-Ranges": "bytes", "ETag": '"b"', **({"Content-Range": whole} if said else {})}
        sent = None if self.cut is None else max(0, self.cut - start)
        return self.give(self.content[start:stop], 206 if said else 200, headers, sent)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    from huggingface_hub import HfFileSystem, constants

    monkeypatch.setattr(datasets.config, "STREAMING_READ_MAX_RETRIES", 1)
    monkeypatch.setattr(datasets.config, "STREAMING_READ_RETRY_INTERVAL", 0)
    impatient = types.SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    monkeypatch.setattr("huggingface_hub.utils._http.time", impatient)
    handler = type("ThisHub", (Hub,), {"name": "x.jsonl", "content": b"", "cut": None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", address)
    HfFileSystem.clear_instance_cache()
    try:
        yield handler
    finally:
        HfFileSystem.clear_instance_cache()
        server.shutdown()
        server.server_close()
        thread.join()


def written(kind: str) -> bytes:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
    if kind == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table({"text": TEXTS}), sink, row_group_size=500)
        return sink.getvalue()
    return gzip.compress(lines) if kind == "gz" else lines


@pytest.mark.parametrize("kind", ["jsonl", "gz", "parquet"])
def test_a_connection_that_is_cut(kind: str, hub: type[Hub]) -> None:
    hub.name = {"jsonl": "x.jsonl", "gz": "x.jsonl.gz", "parquet": "x.parquet"}[kind]
    hub.content = written(kind)
    corpus = HubCorpus("owner/name")
    assert corpus.digest
    hub.cut = len(hub.content) * 6 // 10
    seen: list[str] = []
    with pytest.raises(CorpusError, match=r"broke off after [\d,]+ rows .*run the same command again, and it goes on"):
        for document in corpus.documents():
            seen.append(document.text)
    assert seen == TEXTS[: len(seen)]
    hub.cut = None
    assert [document.text for document in HubCorpus("owner/name").documents()] == TEXTS


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.parquet", "x.jsonl"])
def test_a_truncated_file_in_a_directory(name: str, tmp_path: Path) -> None:
    content = written({"x.jsonl.gz": "gz", "x.parquet": "parquet", "x.jsonl": "jsonl"}[name])
    (tmp_path / name).write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(CorpusError, match=r"fetch it again|Check the name"):
        list(HubCorpus(str(tmp_path)).documents())


def test_a_hub_that_does_not_say_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(HubCorpus, "_open", lambda self: iter(()))
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    with pytest.raises(CorpusError, match=r"which version .*ConnectionError: no route.*Run the same command"):
        _ = HubCorpus("owner/name").digest
