"""What the tests of the command line share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asks import FakeProvider

from monosema.cli import main
from monosema.runs import Run

Command = Callable[..., tuple[int, str, str]]
KEY = "sk-a-secret-that-must-not-be-written"


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs the command line in this process; gives exit code, stdout, and stderr with its lines joined."""

    def call(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        captured = capfd.readouterr()
        return code, captured.out, " ".join(captured.err.split())

    return call


@pytest.fixture
def words(small_keys: dict[str, str]) -> Callable[..., list[str]]:
    """The small recipe's keys as words, with some changed; None leaves a key out."""

    def make(**changed: str | None) -> list[str]:
        keys = {**small_keys, **changed}
        return [word for key, value in keys.items() if value is not None for word in (f"--{key}", value)]

    return make


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Iterator[Path]:
    """A run in memory where the system has such a folder: the store waits for the disk at every step."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as home:
        yield Path(shutil.copytree(finished.folder, Path(home) / "run"))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    """A provider on this machine, and keys for it."""
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("ssl.SSLContext.load_verify_locations", lambda *_, **__: None)
    provider = FakeProvider()
    yield provider
    provider.close()


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matrix of 3,000 × 16 random vectors."""
    import numpy as np

    path = tmp_path_factory.mktemp("vectors") / "vectors.npy"
    np.save(path, np.random.default_rng(0).normal(size=(3000, 16)).astype(np.float32))
    return path


@pytest.fixture(scope="session")
def victims() -> Iterator[Any]:
    """Where commands run that will be killed."""
    from commanding import Victims

    started = Victims()
    yield started
    started.process.communicate()
