"""The app over a finished run, called in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from monosema.runs import Run
from monosema.server import create_app

HERE = "http://localhost:8000"


@pytest.fixture(scope="session")
def served_run(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run that tests may change."""
    folder = tmp_path_factory.mktemp("served") / "runs" / "small"
    shutil.copytree(finished.folder, folder)
    return folder


@pytest.fixture(scope="session")
def client(served_run: Path) -> Iterator[TestClient]:
    """A client of the app over that run."""
    with TestClient(create_app([served_run]), base_url=HERE) as client:
        yield client
