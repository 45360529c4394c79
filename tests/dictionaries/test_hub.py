"""Dictionaries pushed to a hub and pulled from it: a server on this machine answers as the hub does."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from monosema.core import FormatError, InputError, MonosemaError
from monosema.dictionaries import load_dictionary, make_coder, pull, push, save_dictionary
from monosema.dictionaries.hub import HubName

# The hub's own client sends files in a way that its HTTP library has given up.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
TOKEN = "hf_thisIsASecret"
COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """What creating a repository, committing to it (large files by LFS) and fetching a snapshot ask."""

    repos: dict[str, dict[str, bytes]]
    stored: dict[str, bytes]
    asked: list[tuple[str, str, str | None]]

    def log_message(self, *_: Any) -> None:
        pass

    def received(self) -> bytes:
        self.asked.append((self.command, self.path.split("?")[0], self.headers.get("Authorization")))
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def do_POST(self) -> None:
        body = self.received()
        parts = self.path.strip("/").split("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(b"{}", code=401)
        if parts[:2] == ["api", "repos"]:
            made = json.loads(body)
            self.repos.setdefault(f"{made['organization']}/{made['name']}", {})
            repo = f"{made['organization']}/{made['name']}"
            return self.say({"url": f"http://{self.headers['Host']}/{repo}", "name": repo})
        if "preupload" in parts:
            files = json.loads(body)["files"]
            modes = [("lfs" if file["path"].endswith(".safetensors") else "regular") for file in files]
            pairs = zip(files, modes, strict=True)
            return self.say({"files": [{"path": f["path"], "uploadMode": m, "shouldIgnore": False} for f, m in pairs]})
        if self.path.endswith("/info/lfs/objects/batch"):
            address = f"http://{self.headers['Host']}/lfs/"
            objects = [
                {**one, "actions": {"upload": {"href": address + one["oid"]}}} for one in json.loads(body)["objects"]
            ]
            return self.say({"transfer": "basic", "objects": objects})
        files = self.repos["/".join(parts[2:4])]
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if entry["key"] == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
        return self.say(
            {"commitUrl": f"http://{self.headers['Host']}/me/one/commit/{COMMIT}", "commitOid": COMMIT, "success": True}
        )

    def do_PUT(self) -> None:
        content = self.received()
        self.stored[hashlib.sha256(content).hexdigest()] = content
        self.answer(b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.received()
        parts = self.path.split("?")[0].strip("/").split("/")
        repo = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if repo not in self.repos:
            return self.refuse(404, "RepoNotFound")
        files = self.repos[repo]
        if parts[0] == "api" and parts[-1] not in ("main", COMMIT):
            return self.refuse(404, "RevisionNotFound")
        if parts[0] == "api" and "tree" in parts:
            return self.say(
                [{"type": "file", "path": path, "size": len(c), "oid": "0" * 40} for path, c in files.items()]
            )
        if parts[0] == "api":
            names = [{"rfilename": path} for path in files]
            return self.say({"id": repo, "sha": COMMIT, "siblings": names, "private": False, "tags": []})
        content = files.get("/".join(parts[4:]))
        if content is None:
            return self.refuse(404, "EntryNotFound")
        return self.answer(content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT})

    def say(self, value: Any) -> None:
        self.answer(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def answer(self, content: bytes, headers: dict[str, str] | None = None, code: int = 200) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, code: int, reason: str) -> None:
        self.answer(b"", {"X-Error-Code": reason}, code)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    from huggingface_hub import constants

    handler = type("ThisHub", (Hub,), {"repos": {}, "stored": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    try:
        yield handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    dictionary = make_coder("topk", d_in=6, n_latents=20, k=3, seed=1)
    with torch.no_grad():
        dictionary.b_dec.normal_()
    save_dictionary(dictionary, tmp_path / "saved")
    (tmp_path / "saved" / "notes.txt").write_text("not a dictionary's file")
    return tmp_path / "saved"


def test_pushed_and_pulled(hub: type[Hub], saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    x = torch.randn(9, 6)
    wanted = load_dictionary(saved).encode(x).dense()
    for repo, prefix in (("me/one", ""), ("me/many/blocks.3.hook_resid_post", "blocks.3.hook_resid_post/")):
        assert push(saved, repo, private=True).endswith(COMMIT)
        files = hub.repos["/".join(repo.split("/")[:2])]
        assert sorted(files) == [f"{prefix}cfg.json", f"{prefix}sae_weights.safetensors"]
        assert files[f"{prefix}cfg.json"] == (saved / "cfg.json").read_bytes()
        assert torch.equal(load_dictionary(repo).encode(x).dense(), wanted)
        assert torch.equal(load_dictionary(f"{repo}/cfg.json").encode(x).dense(), wanted)
        out = pull(repo, "main", tmp_path / "out" / (prefix or "root"))
        assert torch.equal(load_dictionary(out).encode(x).dense(), wanted)
        assert sorted(file.name for file in out.iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    writes = [header for command, _, header in hub.asked if command == "POST"]
    assert writes
    assert set(writes) == {f"Bearer {TOKEN}"}
    assert TOKEN not in caplog.text
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file


def test_only_the_asked_folder_is_fetched(hub: type[Hub], saved: Path) -> None:
    push(saved, "me/many/one")
    push(saved, "me/many/two")
    hub.asked.clear()
    load_dictionary("me/many/two")
    fetched = {path.split("/resolve/")[1] for _, path, _ in hub.asked if "/resolve/" in path}
    assert fetched == {f"{COMMIT}/two/cfg.json", f"{COMMIT}/two/sae_weights.safetensors"}


def test_a_file_by_name(hub: type[Hub], tmp_path: Path) -> None:
    """Libraries that publish one state dict, several to a repository: only that one travels."""
    torch.save({"encoder.weight": torch.ones(9, 4), "encoder.bias": torch.zeros(9)}, tmp_path / "other.pt")
    state = {f"encoder_linear.{name}": value for name, value in torch.nn.Linear(4, 9).state_dict().items()}
    state |= {f"decoder_linear.{name}": value for name, value in torch.nn.Linear(9, 4).state_dict().items()}
    torch.save(state, tmp_path / "l19.pth")
    names = ("l19.pth", "other.pt")
    hub.repos["me/many"] = {f"saes/{name}": (tmp_path / name).read_bytes() for name in names}
    assert load_dictionary("me/many/saes/l19.pth").n_latents == 9
    assert not any("other.pt" in path for _, path, _ in hub.asked if "/resolve/" in path)
    assert load_dictionary(pull("me/many/saes/l19.pth", None, tmp_path / "out")).n_latents == 9


def test_what_is_there_already_stays(hub: type[Hub], saved: Path, tmp_path: Path) -> None:
    push(saved, "me/one")
    out = tmp_path / "out"
    pull("me/one", None, out)
    (out / "cfg.json").unlink()
    assert pull("me/one", None, out) == out
    (out / "cfg.json").write_text("{}")
    with pytest.raises(InputError, match="something else at"):
        pull("me/one", None, out)
    assert (out / "cfg.json").read_text() == "{}"


def test_what_the_hub_does_not_have(hub: type[Hub], saved: Path) -> None:
    push(saved, "me/one")
    with pytest.raises(FormatError, match="There is no dictionary 'me/none' on the hub"):
        load_dictionary("me/none")
    with pytest.raises(FormatError, match="'me/one' has no revision 'v9'"):
        load_dictionary("me/one@v9")
    with pytest.raises(FormatError, match="'me/one' has no dictionary in 'layer_3'"):
        load_dictionary("me/one/layer_3")
    with pytest.raises(FormatError, match="no name on the hub"):
        pull("one", None, None)


def test_pushing_what_is_no_dictionary_sends_nothing(hub: type[Hub], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="holds no dictionary"):
        push(tmp_path / "empty", "me/one")
    assert hub.asked == []


def test_tokens(hub: type[Hub], saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(MonosemaError, match="may not write there") as caught:
        push(saved, "me/one")
    assert "hf_wrong" not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="set HF_TOKEN"):
        push(saved, "me/one")


def test_a_damaged_dictionary_is_not_copied(hub: type[Hub], saved: Path, tmp_path: Path) -> None:
    push(saved, "me/one")
    hub.repos["me/one"]["sae_weights.safetensors"] = b"cut short"
    with pytest.raises(MonosemaError, match="sae_weights"):
        pull("me/one", None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a/b", HubName("a/b", None, "")),
        ("a/b@v1.0", HubName("a/b", "v1.0", "")),
        ("a/b@main/x/y", HubName("a/b", "main", "x/y")),
        ("a/b/params.npz", HubName("a/b", None, "")),
        ("a/b/layer_20/width_16k/average_l0_71/params.npz", HubName("a/b", None, "layer_20/width_16k/average_l0_71")),
        ("a/b/checkpoints/final.safetensors", HubName("a/b", None, "")),
        ("a", None),
        ("/a/b", None),
        ("./a/b", None),
        ("../a", None),
        ("a/../b", None),
        ("a b/c", None),
    ],
)
def test_names(text: str, name: HubName | None) -> None:
    assert HubName.parse(text) == name
