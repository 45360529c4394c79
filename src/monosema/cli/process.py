"""Settings of the command line's whole process that a library must not make: waiting of threads, keeping of memory.

Threads. OpenMP's threads spin for milliseconds while they wait for each other, as if the machine were theirs alone. Two
jobs on the same cores then keep each other from running: measured, each takes some ten times as long as with
threads that sleep (docs/benchmarks.md). A container may have fewer processors than it sees, which does the same.

Memory. See `keep_large_blocks`.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from monosema.core import keep_large_blocks

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which GNU's and Intel's OpenMP say how long a thread spins."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Linux's file for a container's processor time: microseconds, of so many."""


def settle() -> None:
    """Choose threads that sleep while they wait, and keep large blocks; to be called before torch is imported."""
    thread_settings(os.environ)
    keep_large_blocks()


def thread_settings(environment: MutableMapping[str, str], quota: Path = QUOTA) -> None:
    """Add what OpenMP reads when it is loaded; what the environment says already stays."""
    if not any(name in environment for name in WAITING):
        environment.update(GOMP_SPINCOUNT="0", KMP_BLOCKTIME="0")
    share = _processors(quota)
    if share is not None and "OMP_NUM_THREADS" not in environment:
        seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if share < seen:
            environment["OMP_NUM_THREADS"] = str(share)


def _processors(quota: Path) -> int | None:
    """Whole processors that a container may use; None where nothing limits it."""
    try:
        spent, _, of = quota.read_text(encoding="ascii").partition(" ")
        return max(1, int(spent) // int(of))
    except (OSError, ValueError):
        return None
