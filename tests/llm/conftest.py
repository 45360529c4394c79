"""A local provider for each test, and a process that forks others to be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import batches, live
from fake_provider import FakeProvider

from monosema.llm import Batches, LiveClient, Store

KEY = "sk-a-secret-that-must-not-be-written"
for variable in ("NO_PROXY", "no_proxy"):
    os.environ[variable] = "127.0.0.1"


@pytest.fixture(autouse=True, scope="session")
def quick_connections() -> Iterator[None]:
    """Read no certificates (nothing here is encrypted, and they take a tenth of a second), and wait little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl.SSLContext.load_verify_locations", lambda *_, **__: None)
        for waits in ("openai._base_client", "anthropic._base_client"):
            patch.setattr(f"{waits}.INITIAL_RETRY_DELAY", 0.01)
        patch.setattr("monosema.llm.adapter.FIRST_WAIT", 0.01)
        yield


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where the system has such a folder: SQLite waits for the disk at every step."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of both vendors."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    return KEY


@pytest.fixture(params=["openai", "anthropic"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Each protocol in turn."""
    return str(request.param)


@pytest.fixture
def world() -> Iterator[FakeProvider]:
    """The provider."""
    provider = FakeProvider()
    yield provider
    provider.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store(tmp_path) as opened:
        yield opened


class Bench:
    """Clients of one provider that share a store."""

    def __init__(self, protocol: str, world: FakeProvider, folder: Path, store: Store) -> None:
        self.protocol, self.world, self.folder, self.store = protocol, world, folder, store

    def live(self, **fields: Any) -> LiveClient:
        return live(self.protocol, self.world.url, self.folder, self.store, **fields)

    def batches(self, **fields: Any) -> Batches:
        return batches(self.protocol, self.world.url, self.folder, self.store, **fields)


@pytest.fixture
def bench(protocol: str, world: FakeProvider, tmp_path: Path, store: Store) -> Bench:
    """Clients of the provider."""
    return Bench(protocol, world, tmp_path, store)


class Victims:
    """Processes that are killed (SIGKILL) where the provider holds them."""

    def __init__(self) -> None:
        environment = {**os.environ, "OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}
        program = str(Path(__file__).parents[1] / "helpers" / "asking.py")
        self.process = subprocess.Popen(
            [sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def kill_at(self, world: FakeProvider, point: str, **job: Any) -> None:
        """Start the job and kill it where the provider comes to the point."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with world.hold(point) as hold:
            self.process.stdin.write(json.dumps({"url": world.url, **job}) + "\n")
            self.process.stdin.flush()
            child = int(self.process.stdout.readline())
            assert hold.reached.wait(30), "the job did not come to the point where it was to be killed"
            os.kill(child, signal.SIGKILL)
            assert int(self.process.stdout.readline()) == -signal.SIGKILL

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="session")
def victims() -> Iterator[Victims]:
    """Where processes come from."""
    started = Victims()
    yield started
    started.close()
