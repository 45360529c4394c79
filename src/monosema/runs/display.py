"""Display of training: a bar, and a table with a line for each dictionary."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from monosema.core.language import translate

FEW_STEPS = 100
"""Steps below which a warning is printed."""
COLUMNS = ("step", "rate", "FVU", "L0", "dead", "left")


class TrainingDisplay:
    """Progress of a training run and the newest figures of each of its dictionaries.

    It serves as the trainer's progress and as one of its trackers.
    """

    def __init__(self, total: int, unit: str, batch: int) -> None:
        """`total` rows in all, `batch` of them in a step, called `unit`."""
        self.total, self.unit, self.batch = total, unit, batch
        self.done = self._before = 0
        self._began: float | None = None
        self._rows: dict[str, Mapping[str, float | int]] = {}

    def advance(self, n: int) -> None:
        """So many rows more are done; the first call of a run that goes on tells what was done before."""
        if self._began is None:
            self._began, self._before = time.monotonic(), n
        self.done += n

    def note(self, **figures: float) -> None:
        """Nothing: the table has the figures of all members."""

    def record(self, member: str, figures: Mapping[str, float | int]) -> None:
        """The newest figures of a member."""
        self._rows[member] = figures

    def close(self) -> None:
        """Nothing is open."""

    @property
    def rate(self) -> float | None:
        """Rows a second in this process; None before there are any."""
        seconds = 0.0 if self._began is None else time.monotonic() - self._began
        return (self.done - self._before) / seconds if seconds > 0 and self.done > self._before else None

    def __rich__(self) -> RenderableType:
        """The table as it is now."""
        rate = self.rate
        left = None if rate is None else (self.total - self.done) / rate
        names = any(self._rows)
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in (("dictionary",) if names else ()) + COLUMNS:
            table.add_column(column, justify="left" if column == "dictionary" else "right", no_wrap=True)
        common = "–" if rate is None else f"{rate:,.0f} {self.unit}/s", "–" if left is None else _duration(left)
        for name, figures in (self._rows or {"": {}}).items():
            cells = [f"{self.done // self.batch:,}/{self.total // self.batch:,}", common[0]]
            cells += [_number(figures.get("fvu")), _number(figures.get("l0")), _share(figures.get("dead")), common[1]]
            table.add_row(*([name] if names else []), *cells)
        return Group(table)


@contextlib.contextmanager
def training_display(total: int, unit: str, batch: int, shown: bool = True) -> Iterator[TrainingDisplay]:
    """Say how many steps there will be, and show a training run's table on stderr while the block runs.

    MONOSEMA_QUIET=1 silences both, but not the warning of too few steps.

    Args:
        shown: False in all but the first of several processes.
    """
    display = TrainingDisplay(total, unit, batch)
    console, quiet = Console(stderr=True), os.environ.get("MONOSEMA_QUIET") == "1"
    if shown and not quiet:
        console.print(translate(f"Training makes {total // batch:,} steps of {batch:,} {unit}."), style="dim")
    if shown and total // batch < FEW_STEPS:
        said = (
            f"Fewer than {FEW_STEPS} steps are too short to mean anything: the latents hardly leave where they began."
        )
        console.print(translate(f"{said} Give more {unit}, more --passes, or a smaller --batch."), style="yellow")
    if not shown or quiet:
        yield display
        return
    with Live(display, console=console, refresh_per_second=4, transient=False):
        yield display


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
