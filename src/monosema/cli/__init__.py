"""The command line: thin over the stations. Parse, call, print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["main", "register_verb"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see monosema.cli.app.

    Args:
        arguments: the words after ``monosema``; those of this process when None.

    Returns:
        The exit code: 0 done, 1 failed, 2 bad input, 130 interrupted.
    """
    from monosema.cli.app import main as run_main

    return run_main(arguments)


def register_verb(function: Callable[..., Any], group: str = "Look around") -> None:
    """Make a function a verb of the command line: its name, its parameters as flags, its docstring as help.

    Args:
        group: heading in `monosema --help`; a new one comes last.
    """
    from monosema.cli.app import register_verb as register

    register(function, group)
