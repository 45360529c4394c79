"""Progress of long work: bars with rates and time left on stderr; stdout stays free for results."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from monosema.core.language import translate

Log = Callable[[str], None]
"""Receiver of lines for people about what long work does."""


@runtime_checkable
class Progress(Protocol):
    """Progress of long work."""

    def advance(self, n: int) -> None:
        """Count further units as done."""
        ...

    def note(self, **figures: float) -> None:
        """Figures worth showing beside the bar, as they are now."""
        ...


class SilentProgress:
    """Tells nobody."""

    def advance(self, n: int) -> None:
        """Do nothing."""

    def note(self, **figures: float) -> None:
        """Do nothing."""


@contextlib.contextmanager
def progress_bar(description: str, total: int | None, unit: str, done: int = 0) -> Iterator[Progress]:
    """Show a bar with rate and time left while the block runs.

    Args:
        total: units in all; None where nobody knows.
        unit: what is counted, in the plural.
        done: units that an earlier process finished; they don't count towards the rate.

    The environment variable MONOSEMA_QUIET=1 silences all bars.
    """
    if os.environ.get("MONOSEMA_QUIET") == "1":
        yield SilentProgress()
        return
    from rich.console import Console
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
    with RichProgress(*columns, console=Console(stderr=True), expand=True) as display:
        task = display.add_task(translate(description), total=total, completed=done, rate="", figures="")

        class Bar:
            def advance(self, n: int) -> None:
                display.advance(task, n)
                elapsed = display.tasks[0].elapsed or 0.0
                if elapsed > 0:
                    rate = (display.tasks[0].completed - done) / elapsed
                    display.update(task, rate=f"{rate:,.0f} {translate(unit)}/s")

            def note(self, **figures: float) -> None:
                display.update(task, figures=" ".join(f"{name} {value:.4g}" for name, value in figures.items()))

        yield Bar()
