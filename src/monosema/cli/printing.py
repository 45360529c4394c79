"""Results as people read them in a terminal."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.meaning import show_meaning
from monosema.core import Config
from monosema.core.language import translate


def plain(value: Any) -> Any:
    """Dataclasses, arrays and tuples as values that JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def show_keys(recipe: Config, console: Console) -> None:
    """Print all keys of a recipe: shortest flag, value, meaning."""
    from monosema.runs import SHORT_KEYS, flatten
    from monosema.runs.overrides import fields_of, flags_of

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("key", overflow="fold")
    table.add_column("value", overflow="fold")
    table.add_column("meaning", style="dim")
    values, flags = flatten(recipe.to_dict()), flags_of(recipe, SHORT_KEYS)
    for name, (owner, leaf) in fields_of(recipe).items():
        value = values.get(name, "none")
        said = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        table.add_row(Text(flags[name]), Text(said or "none"), meaning_of(owner, leaf))
    console.print(table)


def meaning_of(owner: type[Config], leaf: str) -> str:
    """Return what a key of a recipe means, as its docstring says it."""
    return " ".join((owner.model_fields[leaf].description or "").replace("``", "").split())


def slug(text: str) -> str:
    """Return a text as the name of a folder: its first letters and digits, the rest as hyphens."""
    return re.sub(r"\W+", "-", text).strip("-").lower()[:40].rstrip("-")


def lead(name: str, width: int = 13) -> str:
    """Return a line's first word in the user's language, as wide as its column."""
    return set_cell_size(translate(name), width)


def show_rows(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """The rows of a query as a table."""
    if not rows:
        console.print("No rows.")
        return
    from monosema.models import visible

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in rows[0]:
        table.add_column(str(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(_cell(value))) for value in row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def number(value: float | None) -> str:
    """Write a number in three digits; a dash where there is none."""
    return "–" if value is None else f"{value:.3g}"


_FIGURES = (
    ("fvu", "unexplained (FVU)", ".3f"),
    ("variance_explained", "variance explained", ".1%"),
    ("l0", "active latents (L0)", ".1f"),
    ("alive", "latents alive", ".1%"),
    ("ce_clean", "loss, model alone", ".3f"),
    ("ce_spliced", "loss, spliced in", ".3f"),
    ("ce_mean", "loss, mean instead", ".3f"),
    ("ce_zero", "loss, zero instead", ".3f"),
    ("loss_recovered", "loss recovered", ".1%"),
    ("kl", "KL from the model", ".3f"),
)
_WIDE = 112


def show_run(summary: Mapping[str, Any], console: Console) -> None:
    """Print a run's results so far: metrics with intervals beside their controls, times, and paths."""
    rows = summary.get("evaluation") or []
    if rows:
        for _, of_site in itertools.groupby(rows, lambda row: row.get("site")):
            console.print(_figures(list(of_site), console.width >= _WIDE))
        console.print(
            Text(
                f"[95 % confidence interval over held-out {'items' if 'items' in summary else 'documents'}]",
                style="dim",
            )
        )
        console.print()
    if "difference" in summary:
        from monosema.models import visible

        console.print(Text(visible(summary["difference"]["sentence"])))
        console.print()
    if "meaning" in summary:
        show_meaning(summary["meaning"], console)
        console.print()
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    training = summary.get("training") or {}
    held = training.get("held_out_fvu")
    seconds = "  ".join(f"{translate(stage)} {value:.1f}" for stage, value in summary["seconds"].items())
    for name, value in (
        ("tokens", _count(summary.get("tokens"))),
        ("items trained on", _count(summary.get("items"))),
        ("features", _count(summary.get("features"))),
        ("held-out rows' FVU", None if held is None else number(held)),
        ("held-out rows' L0", None if training.get("l0") is None else number(training["l0"])),
        ("penalty's weight", number(training["coefficient"]) if training.get("coefficient") else None),
        ("training step", f"{training['step_ms']:.1f} ms" if training.get("step_ms") else None),
        ("seconds", f"{seconds}  {translate('together')} {sum(summary['seconds'].values()):.1f}"),
    ):
        if value:
            facts.add_row(f"[bold]{name}", Text(str(value), overflow="fold"))
    console.print(facts)
    for name in ("run", "report"):
        if name in summary:
            console.print(Text.assemble((lead(name, 20), "bold"), summary[name]), soft_wrap=True)


def _figures(rows: Sequence[Mapping[str, Any]], wide: bool) -> Table:
    """Figures downwards, the dictionary and its controls across; the controls' intervals only where there is room."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for row in rows:
        name = row["name"] if wide or row is rows[0] else row["kind"]
        table.add_column(Text(str(name)), justify="right", no_wrap=True)
    for key, words, form in _FIGURES:
        if any(key in row["metrics"] for row in rows):
            cells = [_estimate(row["metrics"].get(key), form, wide or row is rows[0]) for row in rows]
            table.add_row(f"[bold]{words}", *cells)
    return table


def _estimate(figure: Mapping[str, Any] | None, form: str, interval: bool) -> Text:
    if figure is None:
        return Text("–", style="dim")
    value, low, high = (format(figure[part], form) for part in ("value", "low", "high"))
    return Text.assemble(value, (f" [{low.removesuffix('%')}, {high}]", "dim")) if interval else Text(value)


def _count(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"
