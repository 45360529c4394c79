"""Scores of explanations as people read them in a terminal: means with intervals beside their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["show_comparison", "show_meaning"]

_SHOWN = ("simulation", "detection", "fuzzing")


def show_meaning(meaning: Mapping[str, Any], console: Console) -> None:
    """How well a run's features are explained by programs, and how many of them above the controls."""
    rows = [row for row in meaning["rows"] if row["scorer"] in _SHOWN]
    console.print(_table(rows, ("method",)))
    console.print(Text(f"[of {meaning['features']:,} features. {meaning['rule']}]", style="dim"))


def show_comparison(result: Mapping[str, Any], console: Console) -> None:
    """Dictionaries beside each other, explained and scored alike."""
    rows = [row for row in result["rows"] if row["scorer"] in _SHOWN]
    sites = len({row["site"] for row in rows}) > 1
    console.print(_table(rows, ("site", "dictionary", "method") if sites else ("dictionary", "method")))
    scored = ", ".join(f"{one['scored']:,} of {one['dictionary']}" for one in result["dictionaries"])
    said = f"Every dictionary is described on {result['tokens']:,} tokens; latents scored: {scored}. {result['rule']}"
    console.print(Text(f"[{said}]", style="dim"))


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in (*names, "scorer"):
        table.add_column(name)
    for name in ("mean", "control", "above", "none"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        words = [Text(str(row[name])) for name in (*names, "scorer")]
        control = f"{row['control']['value']:.3f}" if "control" in row else "–"
        above = f"{row['above']['value']:.1%}" if "above" in row else "–"
        table.add_row(*words, _estimate(row.get("mean")), control, above, f"{sum(row['absent'].values()):,}")
    return table


def _estimate(figure: Mapping[str, Any] | None) -> Text:
    if figure is None:
        return Text("–", style="dim")
    interval = f" [{figure['low']:.3f}, {figure['high']:.3f}]"
    return Text.assemble(f"{figure['value']:.3f}", (interval, "dim"))
