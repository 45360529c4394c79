"""Flags of every verb, and the delivery of its result."""

from __future__ import annotations

import json as json_library
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter
from rich.console import Console
from rich.text import Text

from monosema.core.language import translate


@Parameter(name="*", group=Group("Every command takes", sort_key=2))
@dataclass(frozen=True)
class Common:
    """Options of every verb."""

    json: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Print one JSON object on stdout; progress and notes go to stderr."""
    seed: int | None = None
    """Seed of all random choices."""
    device: str | None = None
    """Device to compute on: cpu, cuda, cuda:1, mps. Without it: the best there is."""
    language: Literal["en", "ko"] | None = None
    """Language of help, notes and tables: en or ko. Without it: that of MONOSEMA_LANGUAGE, LC_ALL or LANG."""
    debug: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Show where in the code an error came from."""


DEFAULTS = Common()


class SpokenConsole(Console):
    """A console that says strings in the user's language where the catalogue has them; `Text` within tables stays."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text translated, its mark-up kept."""
        mark, words = _MARKED.fullmatch(text).groups()  # type: ignore[union-attr]
        return super().render_str(mark + translate(words), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print strings, texts of one style, and renderables."""
        super().print(*map(_spoken, objects), **options)

    def out(self, *objects: Any, **options: Any) -> None:
        """Print strings as they are, without mark-up."""
        super().out(*(translate(str(one)) for one in objects), **options)


_MARKED = re.compile(r"((?:\[[a-z ]+\])*)(.*)", re.DOTALL)


def _spoken(shown: Any) -> Any:
    one_style = isinstance(shown, Text) and not shown.spans
    return Text(translate(shown.plain), shown.style, overflow=shown.overflow) if one_style else shown


def results_console() -> Console:
    """The console that results are printed on."""
    return SpokenConsole(soft_wrap=False)


def errors_console() -> Console:
    """The console for notes and errors; stdout stays free for results."""
    return SpokenConsole(stderr=True, highlight=False)


def deliver(result: dict[str, Any], common: Common, show: Callable[[Console], None]) -> int:
    """Hand over a verb's result: as one JSON object, or printed for people. Returns exit code 0."""
    if common.json:
        sys.stdout.write(json_library.dumps(result, ensure_ascii=False, allow_nan=False, default=str) + "\n")
        sys.stdout.flush()
    else:
        show(results_console())
    return 0
