"""Flags of every verb, and the delivery of its result."""

from __future__ import annotations

import json as json_library
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

Keys = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""Words that a verb reads itself: plain arguments and ``--key value``."""


@Parameter(name="*", group="Every command takes")
@dataclass(frozen=True)
class Common:
    """Options of every verb."""

    json: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Print one JSON object on stdout; progress and notes go to stderr."""
    seed: int | None = None
    """Seed of all random choices."""
    device: str | None = None
    """Device to compute on: cpu, cuda, cuda:1, mps. Without it: the best there is."""
    debug: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Show where in the code an error came from."""


DEFAULTS = Common()


def results_console() -> Console:
    """The console that results are printed on."""
    return Console(soft_wrap=False)


def errors_console() -> Console:
    """The console for notes and errors; stdout stays free for results."""
    return Console(stderr=True, highlight=False)


def deliver(result: dict[str, Any], common: Common, show: Callable[[Console], None]) -> int:
    """Hand over a verb's result: as one JSON object, or printed for people. Returns exit code 0."""
    if common.json:
        sys.stdout.write(json_library.dumps(result, ensure_ascii=False, allow_nan=False, default=str) + "\n")
        sys.stdout.flush()
    else:
        show(results_console())
    return 0
