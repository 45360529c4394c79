"""Results as people read them in a terminal."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import set_cell_size
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from monosema.cli.meaning import show_meaning
from monosema.core import Config
from monosema.core.language import translate

_HEAT = (255, 140, 0)
_LEVELS = 8


def heat_text(tokens: Sequence[str], activations: Sequence[float], maximum: float) -> Text:
    """Tokens on one line, each with a background as strong as its activation; control characters made visible."""
    text = Text(overflow="fold")
    for token, activation in zip(tokens, activations, strict=True):
        share = min(max(activation / maximum, 0.0), 1.0) if maximum > 0 else 0.0
        level = round(share * _LEVELS) / _LEVELS
        shown = visible(token)
        if level == 0:
            text.append(shown)
        else:
            red, green, blue = (round(24 + (channel - 24) * level) for channel in _HEAT)
            text.append(shown, style=f"{'black' if level > 0.5 else 'white'} on rgb({red},{green},{blue})")
    return text


def visible(token: str) -> str:
    """The token with line breaks and tabs as signs."""
    return token.replace("\n", "↵").replace("\r", "␍").replace("\t", "⇥")


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
        meaning = (owner.model_fields[leaf].description or "").replace("``", "")
        table.add_row(Text(flags[name]), Text(said or "none"), " ".join(meaning.split()))
    console.print(table)


def show_features(features: Sequence[Any], console: Console) -> None:
    """Features as a list: number, density, maximum, label."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, justify in (
        ("feature", "right"),
        ("density", "right"),
        ("max", "right"),
        ("score", "right"),
        ("label", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for feature in features:
        values = plain(feature)
        table.add_row(
            str(values["latent"]),
            f"{values['density']:.3%}",
            _number(values.get("max")),
            _number(values.get("label_score")),
            Text(visible(str(values.get("label") or "–"))),
        )
    console.print(table if features else "No feature found.")


def feature_values(feature: Any, limit: int) -> dict[str, Any]:
    """A feature as plain values, with at most so many passages."""
    values: dict[str, Any] = plain(feature)
    values["examples"] = values["examples"][:limit]
    return values


def show_feature(feature: Any, limit: int, console: Console) -> None:
    """A feature as a page: figures, tokens it promotes, passages with heat."""
    values = feature_values(feature, limit)
    label = str(values.get("label") or translate("no label"))
    head = Text.assemble((translate(f"feature {values['latent']}"), "bold"), "  ", visible(label))
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_row(
        "fires on",
        f"{values['density']:.3%} of tokens",
        f"max {_number(values['max'])}",
        f"mean {_number(values['mean'])}",
    )
    console.print(head)
    console.print(facts)
    for name in ("promoted", "suppressed"):
        tokens = values.get(name) or []
        if tokens:
            console.print(
                Text.assemble((_lead(name), "dim"), "  ".join(visible(_word(token)) for token in tokens[:10]))
            )
    neighbours = values.get("neighbours") or []
    if neighbours:
        near = "  ".join(f"{other['other']} ({other['value']:.2f}, {other['kind']})" for other in neighbours[:6])
        console.print(Text.assemble((_lead("near"), "dim"), near))
    passages = [heat_text(example["tokens"], example["activations"], values["max"]) for example in values["examples"]]
    kinds = [Text(f"{example['kind']:>4} {example['maximum']:6.2f} ", style="dim") for example in values["examples"]]
    rows = Table(box=None, show_header=False, padding=(0, 1, 1, 0))
    for kind, passage in zip(kinds, passages, strict=True):
        rows.add_row(kind, passage)
    console.print(Padding(Group(rows), (1, 0, 0, 0)))


def _lead(name: str, width: int = 13) -> str:
    """Return a line's first word in the user's language, as wide as its column."""
    return set_cell_size(translate(name), width)


def _word(token: Any) -> str:
    return str(
        token["token"] if isinstance(token, Mapping) else token[0] if isinstance(token, (list, tuple)) else token
    )


def show_rows(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """The rows of a query as a table."""
    if not rows:
        console.print("No rows.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in rows[0]:
        table.add_column(str(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(_cell(value))) for value in row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
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
        console.print(Text("[95 % confidence interval over held-out documents]", style="dim"))
        console.print()
    if "difference" in summary:
        console.print(Text(visible(summary["difference"]["sentence"])))
        console.print()
    if "meaning" in summary:
        show_meaning(summary["meaning"], console)
        console.print()
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    training = summary.get("training") or {}
    seconds = "  ".join(f"{translate(stage)} {value:.1f}" for stage, value in summary["seconds"].items())
    for name, value in (
        ("tokens", _count(summary.get("tokens"))),
        ("features", _count(summary.get("features"))),
        ("held-out rows' FVU", _number(training.get("held_out_fvu")) if training else None),
        ("training step", f"{training['step_ms']:.1f} ms" if training.get("step_ms") else None),
        ("seconds", f"{seconds}  {translate('together')} {sum(summary['seconds'].values()):.1f}"),
    ):
        if value:
            facts.add_row(f"[bold]{name}", Text(str(value), overflow="fold"))
    console.print(facts)
    for name in ("run", "report"):
        if name in summary:
            console.print(Text.assemble((_lead(name, 20), "bold"), summary[name]), soft_wrap=True)


def _figures(rows: Sequence[Mapping[str, Any]], wide: bool) -> Table:
    """Figures downwards, the dictionary and its controls across; the controls' intervals only where there is room."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for row in rows:
        name = row["name"] if wide or row is rows[0] else row["kind"]
        table.add_column(Text(str(name)), justify="right", no_wrap=True)
    for key, words, form in _FIGURES:
        if any(key in row["figures"] for row in rows):
            cells = [_estimate(row["figures"].get(key), form, wide or row is rows[0]) for row in rows]
            table.add_row(f"[bold]{words}", *cells)
    return table


def _estimate(figure: Mapping[str, Any] | None, form: str, interval: bool) -> Text:
    if figure is None:
        return Text("–", style="dim")
    value, low, high = (format(figure[part], form) for part in ("value", "low", "high"))
    return Text.assemble(value, (f" [{low.removesuffix('%')}, {high}]", "dim")) if interval else Text(value)


def _count(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"
