"""Scores of explanations printed in a terminal: means with intervals beside their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def show_meaning(meaning: Mapping[str, Any], console: Console) -> None:
    """Print how well a run's features are explained by rules, and how many of them above the controls."""
    rows = [row for row in meaning["rows"] if not row.get("part")]
    console.print(_table(rows, ("method",), random=True))
    console.print(Text(f"[of {meaning['features']:,} features. {meaning['rule']}]", style="dim"))


def show_comparison(result: Mapping[str, Any], console: Console) -> None:
    """Print dictionaries beside each other, explained and scored alike."""
    rows = [row for row in result["rows"] if not row.get("part")]
    sites = len({row["site"] for row in rows}) > 1
    console.print(_table(rows, ("site", "dictionary", "method") if sites else ("dictionary", "method")))
    # A dictionary is named once, though it may be there at several sites.
    scored = ", ".join(dict.fromkeys(f"{one['scored']:,} of {one['dictionary']}" for one in result["dictionaries"]))
    note = f"Every dictionary is described on {result['tokens']:,} tokens; latents scored: {scored}. {result['rule']}"
    console.print(Text(f"[{note}]", style="dim"))


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str], random: bool = False) -> Table:
    """Return a table with a line per row; `random` adds columns for the median of random latents, where they have no
    rows."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in (*names, "scorer"):
        # So that names are folded between words where lines are short, and not cut.
        table.add_column(name, min_width={"method": 12, "scorer": 10}.get(name))
    controls = {"control": "shuffled", "random_spread": "random"} if random else {"control": "shuffled"}
    shares = {"above": "above", "above_random": "above\nrandom"} if random else {"above": "above"}
    for name in ("mean", *controls.values(), *shares.values(), "none"):
        table.add_column(name, justify="right", no_wrap=name == "mean", min_width=5 if name == "none" else None)
    for row in rows:
        words = [Text(str(row[name])) for name in (*names, "scorer")]
        cells = [f"{row[name]['value']:.3f}" if name in row else "–" for name in controls]
        cells += [f"{row[name]['value']:.1%}" if name in row else "–" for name in shares]
        table.add_row(*words, _estimate(row.get("mean")), *cells, f"{sum(row['absent'].values()):,}")
    return table


def _estimate(metric: Mapping[str, Any] | None) -> Text:
    if metric is None:
        return Text("–", style="dim")
    interval = f" [{metric['low']:.3f}, {metric['high']:.3f}]"
    return Text.assemble(f"{metric['value']:.3f}", (interval, "dim"))
