"""One process at a time on one folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from monosema.core import RunError
from monosema.runs.ledger import run_lock

HOLDER = """
import sys, time
from monosema.runs.ledger import run_lock
with run_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_in_use_is_refused_and_free_again_after_a_kill(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=rf"\(id {holder.pid}\) is working on the run folder"), run_lock(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with run_lock(tmp_path):
        pass


def test_the_lock_is_let_go_after_an_exception(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
        _ = 1 / 0
    with run_lock(tmp_path / "new"), run_lock(tmp_path):
        pass
