"""Progress of long work on stderr: bars in a terminal, in a log a line every now and then; stdout stays for results."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from monosema.core.language import translate

if TYPE_CHECKING:
    from rich.console import Console

Log = Callable[[str], None]
"""Receiver of lines for people about what long work does."""
BETWEEN, SHARE = 10.0, 0.1
"""Between two lines of a log there are so many seconds at least, and this share of the time that went by."""


@runtime_checkable
class Progress(Protocol):
    """Progress of long work."""

    def advance(self, n: int) -> None:
        """Count further units as done."""
        ...

    def note(self, **figures: float) -> None:
        """Take figures worth showing beside the bar, as they are now."""
        ...


class SilentProgress:
    """Progress that is told to nobody."""

    def advance(self, n: int) -> None:
        """Do nothing."""

    def note(self, **figures: float) -> None:
        """Do nothing."""


class Pace:
    """Units done, their rate in this process, and the time that is left.

    Args:
        total: units in all; None where nobody knows.
        unit: what is counted, in the plural.
        done: units that an earlier process finished; they don't count towards the rate.
    """

    def __init__(self, total: int | None, unit: str, done: int = 0) -> None:
        self.total, self.unit, self.done, self._before = total, unit, done, done
        self._told = done
        self._began = self._said = time.monotonic()

    def restart(self, done: int) -> None:
        """Begin to count here, with so many units done before."""
        self._before = self.done = done
        self._began = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since this process began."""
        return time.monotonic() - self._began

    @property
    def rate(self) -> float | None:
        """Units a second; None before there are any."""
        seconds, made = self.seconds, self.done - self._before
        return made / seconds if seconds > 0 and made > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds left; None where that isn't known."""
        return None if self.rate is None or self.total is None else max(0, self.total - self.done) / self.rate

    def due(self) -> bool:
        """True once every now and then."""
        now = time.monotonic()
        asked = os.environ.get("MONOSEMA_LOG_SECONDS")
        if now - self._said < (float(asked) if asked else max(BETWEEN, SHARE * (now - self._began))):
            return False
        self._said = now
        return True

    @property
    def said_all(self) -> bool:
        """True if `line` has told of all that is done."""
        return self._told == self.done and self.done != self._before

    def line(self, name: str, figures: str = "") -> str:
        """Say how far the work is: share, rate, time left, and figures."""
        took = duration(self.seconds)
        self._told = self.done
        share = f"{self.done:,} {self.unit}" if not self.total else f"{min(1.0, self.done / self.total):.0%}"
        left = "" if self.left is None else f", {duration(self.left)} left" if self.left else f", {took} in all"
        return f"{name}: {share}{rate_words(self.rate, self.unit)}{left}{figures and '; '}{figures}"


def rate_words(rate: float | None, unit: str) -> str:
    """Return a rate behind a comma; nothing where there is none."""
    return "" if rate is None else f", {rate:,.0f} {unit}/s" if rate >= 10 else f", {rate:.2g} {unit}/s"


def duration(seconds: float) -> str:
    """Return hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


class _Lines:
    """Progress in a log."""

    def __init__(self, name: str, pace: Pace, console: Console) -> None:
        self._name, self._pace, self._console, self._figures = name, pace, console, ""

    def advance(self, n: int) -> None:
        """Count, and say a line every now and then."""
        self._pace.done += n
        if self._pace.due():
            self.say()

    def note(self, **figures: float) -> None:
        """Keep figures for the next line."""
        self._figures = _figures(figures)

    def say(self) -> None:
        """Print how far the work is."""
        self._console.print(translate(self._pace.line(self._name, self._figures)), style="dim", soft_wrap=True)


@contextlib.contextmanager
def progress_bar(description: str, total: int | None, unit: str, done: int = 0) -> Iterator[Progress]:
    """Show a bar with rate and time left while the block runs; where stderr is no terminal, print lines.

    Args:
        total, unit, done: see `Pace`.

    The environment variable MONOSEMA_QUIET=1 silences all bars.
    """
    if os.environ.get("MONOSEMA_QUIET") == "1":
        yield SilentProgress()
        return
    from rich.console import Console

    console, pace = Console(stderr=True, highlight=False), Pace(total, unit, done)
    if not console.is_terminal:
        lines = _Lines(description, pace, console)
        yield lines
        if not pace.said_all:
            lines.say()
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column

    def fixed(width: int) -> Column:
        return Column(no_wrap=True, min_width=width)

    columns = (
        TextColumn("{task.description:<8}", table_column=fixed(8)),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        TaskProgressColumn(table_column=fixed(4)),
        TextColumn("{task.fields[rate]}", table_column=fixed(15)),
        TimeElapsedColumn(table_column=fixed(7)),
        TextColumn(translate("left"), table_column=fixed(4)),
        TimeRemainingColumn(table_column=fixed(7)),
        TextColumn("[dim]{task.fields[figures]}", table_column=Column(no_wrap=True)),
    )
    with RichProgress(*columns, console=console, expand=True) as display:
        task = display.add_task(description, total=total, completed=done, rate="", figures="")

        class Bar:
            def advance(self, n: int) -> None:
                pace.done += n
                display.update(task, advance=n, rate=translate(rate_words(pace.rate, unit).removeprefix(", ")))

            def note(self, **figures: float) -> None:
                display.update(task, figures=_figures(figures))

        yield Bar()


def _figures(figures: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in figures.items())
