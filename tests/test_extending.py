"""docs/extending.md, executed as it stands: one file outside the package that the command line is told to import."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's code as one module, and what else its examples read."""
    folder = tmp_path_factory.mktemp("outside")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (folder / "my_features.py").write_text("\n\n".join(blocks), encoding="utf-8")
    return folder


def monosema(folder: Path, *words: object) -> str:
    """Run a command in the folder with the module imported; return its output."""
    environment = {**os.environ, "MONOSEMA_EXTENSIONS": "my_features", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "monosema", *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_on_the_page_takes_part_in_a_run(extended: Path, small_keys: dict[str, str]) -> None:
    keys = {
        **small_keys,
        "score.scorers": '["simulation", "mentions"]',
        "explain.methods": '["token lookup", "strongest token"]',
    }
    words = [word for key, value in keys.items() for word in (f"--{key}", value)]
    printed = json.loads(monosema(extended, "run", "demo", "--out", "run", "--json", *words))
    rows = {(row["method"], row["scorer"]): row for row in printed["meaning"]["rows"]}
    mentions = rows["strongest token", "mentions"]
    assert mentions["mean"]["value"] > mentions["control"]["value"]
    assert rows["strongest token", "simulation"]["mean"]["n"] > 10
    assert len((extended / "run" / "longest.txt").read_text().splitlines()) == 10
    assert len(monosema(extended, "longest", "run", "--limit", 2).splitlines()) == 2
    assert "longest" in monosema(extended, "--help")


def test_an_extension_that_is_not_there_is_named(extended: Path) -> None:
    environment = {**os.environ, "MONOSEMA_EXTENSIONS": "nowhere"}
    command = [sys.executable, "-m", "monosema", "doctor", "--help"]
    done = subprocess.run(command, cwd=extended, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
