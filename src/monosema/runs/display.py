"""Display of training: a bar, and a table with a line for each dictionary."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from monosema.core import Log
from monosema.core.language import translate
from monosema.core.progress import Pace, duration

FEW_STEPS = 100
"""Steps below which a warning is printed."""
COLUMNS = ("step", "rate", "FVU", "L0", "dead", "left")


class TrainingDisplay:
    """Progress of a training run and the newest figures of each of its dictionaries.

    It serves as the trainer's progress and as one of its trackers.

    Args:
        pace: counts rows.
        batch: rows in a step.
        log: receives a line every now and then, where there is no terminal.
    """

    def __init__(self, pace: Pace, batch: int, log: Log | None = None) -> None:
        self.pace, self.batch, self.log = pace, batch, log
        self.begun = False
        self._rows: dict[str, Mapping[str, float | int]] = {}

    def advance(self, n: int) -> None:
        """Count rows that are done; the first call of a run that goes on tells what was done before."""
        if not self.begun:
            self.begun = True
            self.pace.restart(n)
            return
        self.pace.done += n
        if self.log is not None and self.pace.due():
            self.log(self.pace.line("train", "; ".join(_line(*row) for row in self._rows.items())))

    def note(self, **figures: float) -> None:
        """Nothing: the table has the figures of all members."""

    def record(self, member: str, figures: Mapping[str, float | int]) -> None:
        """The newest figures of a member."""
        self._rows[member] = figures

    def close(self) -> None:
        """Nothing is open."""

    def __rich__(self) -> RenderableType:
        """The table as it is now; nothing before the first step."""
        if not self.begun:
            return ""
        rate, left, unit = self.pace.rate, self.pace.left, self.pace.unit
        names = any(self._rows)
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in (("dictionary",) if names else ()) + COLUMNS:
            first = column == "dictionary"
            table.add_column(
                translate(column), justify="left" if first else "right", no_wrap=not first, overflow="fold"
            )
        common = "–" if rate is None else translate(f"{rate:,.0f} {unit}/s"), "–" if left is None else duration(left)
        for name, figures in (self._rows or {"": {}}).items():
            cells = [f"{self.pace.done // self.batch:,}/{(self.pace.total or 0) // self.batch:,}", common[0]]
            cells += [_number(figures.get("fvu")), _number(figures.get("l0")), _share(figures.get("dead")), common[1]]
            table.add_row(*([name] if names else []), *cells)
        return table


@contextlib.contextmanager
def training_display(total: int, unit: str, batch: int, shown: bool = True) -> Iterator[TrainingDisplay]:
    """Say how many steps there will be, and show a training run's table on stderr while the block runs.

    MONOSEMA_QUIET=1 silences both, but not the warning of too few steps.

    Args:
        shown: False in all but the first of several processes.
    """
    console, quiet = Console(stderr=True, highlight=False), os.environ.get("MONOSEMA_QUIET") == "1"
    lines = shown and not quiet and not console.is_terminal

    def log(line: str) -> None:
        console.print(translate(line), style="dim", soft_wrap=True)

    display = TrainingDisplay(Pace(total, unit), batch, log if lines else None)
    if shown and not quiet:
        console.print(translate(f"Training makes {total // batch:,} steps of {batch:,} {unit}."), style="dim")
    if shown and total // batch < FEW_STEPS:
        said = (
            f"Fewer than {FEW_STEPS} steps are too short to mean anything: the latents hardly leave where they began."
        )
        console.print(translate(f"{said} Give more {unit}, more --passes, or a smaller --batch."), style="yellow")
    if not shown or quiet:
        yield display
    elif lines:
        yield display
        console.print(display)
    else:
        with Live(display, console=console, refresh_per_second=4, transient=False):
            yield display


def _line(name: str, figures: Mapping[str, float | int]) -> str:
    said = f"FVU {_number(figures.get('fvu'))}, L0 {_number(figures.get('l0'))}, dead {_share(figures.get('dead'))}"
    return f"{name}: {said}" if name else said


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
