"""The command line: thin over the stations. Parse, call, print."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. See monosema.cli.entry."""
    from monosema.cli.entry import main as run_main

    return run_main(arguments)
