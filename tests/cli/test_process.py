"""How threads wait: chosen where nobody has said it, and before torch is there to read it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from monosema.cli.process import thread_settings

SLEEP = {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


@pytest.mark.parametrize(
    ("said", "added"),
    [({}, SLEEP), ({"OMP_WAIT_POLICY": "active"}, {}), ({"GOMP_SPINCOUNT": "10"}, {}), ({"KMP_BLOCKTIME": "1"}, {})],
)
def test_waiting_threads_sleep_unless_the_environment_says_otherwise(said, added, tmp_path: Path) -> None:
    environment = dict(said)
    thread_settings(environment, tmp_path / "none")
    assert environment == said | added


@pytest.mark.parametrize(
    ("quota", "said", "threads"),
    [
        ("max 100000", {}, None),
        ("50000 100000", {}, "1"),
        ("50000 100000", {"OMP_NUM_THREADS": "7"}, "7"),
        ("99999900000 100000", {}, None),
        ("", {}, None),
    ],
)
def test_threads_are_no_more_than_a_container_has_processors(quota, said, threads, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(quota)
    environment = dict(said)
    thread_settings(environment, tmp_path / "cpu.max")
    assert environment.get("OMP_NUM_THREADS") == threads


def test_the_command_line_chooses_before_torch_is_loaded() -> None:
    code = "import monosema.cli.app, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
