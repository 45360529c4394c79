"""Features printed in a terminal: lists, explanations with their scores beside controls, passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from monosema.cli.printing import lead, number, plain
from monosema.core.language import translate

_HEAT = (255, 140, 0)
_LEVELS = 8
_AROUND = 12
"""Tokens shown on either side of the strongest, where only a part is shown."""


def heat_text(tokens: Sequence[str], activations: Sequence[float], maximum: float, around: int | None = None) -> Text:
    """Tokens on one line, each with a background as strong as its activation. Brackets, which need no colour, stand
    around tokens above half the strongest activation.

    Args:
        maximum: activation of the strongest background.
        around: most tokens on either side of the strongest; None for all.
    """
    from monosema.models import shown_tokens, visible

    text = Text(overflow="fold")
    peak = max(activations, default=0.0)
    shown = [(one, max(activations[one.start : one.stop])) for one in shown_tokens(tokens)]
    top = next((place for place, (_, value) in enumerate(shown) if value == peak), 0)
    low, high = (0, len(shown)) if around is None else (max(0, top - around), top + around + 1)
    text.append("…" * (low > 0))
    inside = False
    for one, activation in shown[low:high]:
        share = min(max(activation / maximum, 0.0), 1.0) if maximum > 0 else 0.0
        level = round(share * _LEVELS) / _LEVELS
        said, style = visible(one.text), ""
        if level:
            red, green, blue = (round(24 + (channel - 24) * level) for channel in _HEAT)
            style = f"{'black' if level > 0.5 else 'white'} on rgb({red},{green},{blue})"
        if (activation > peak / 2 > 0) != inside:
            # A bracket opens before the word, not before its space.
            word = said.lstrip(" ")
            text.append("]" if inside else said[: len(said) - len(word)] + "[")
            said, inside = said if inside else word, not inside
        text.append(said, style=style)
    return text.append("]" * inside + "…" * (high < len(shown)))


def show_features(rows: Sequence[Mapping[str, Any]], console: Console, metric: str = "density") -> None:
    """Print features as a list: a metric, the label, and its score beside its controls.

    Args:
        metric: column of the rows that stands beside the number.
    """
    from monosema.models import visible

    if not rows:
        console.print("No feature found.")
        return
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("feature", metric, "score", "shuffled", "random", "above"):
        table.add_column(name, justify="right", no_wrap=True)
    why = any(row.get("why") for row in rows)
    table.add_column("label / why it is here" if why else "label", overflow="fold")
    for row in rows:
        cells = [f"{row[metric]:.2%}" if metric == "density" else number(row[metric]), *_controlled(row, "label_")]
        words = Text(visible(str(row["label"] or "–")))
        if row.get("why"):
            words.append(f"\n{visible(translate(row['why']))}", style="dim")
        table.add_row(str(row["latent"]), *cells, words)
    console.print(table)


def _controlled(row: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return a score, its controls, and the height of its interval's low end above the highest of them."""
    names = ("score" if prefix else "value", "control", "random")
    margin = row.get(f"{prefix}margin")
    return [
        *("–" if row.get(prefix + name) is None else f"{row[prefix + name]:.2f}" for name in names),
        "–" if margin is None else f"{margin:+.2f}",
    ]


ABOVE = (
    "score: of the label. shuffled: the score of another feature's explanation here; random: the median score of "
    "random directions. above: height of the score's 95 % interval over the highest of these and chance; below 0 it "
    "does not stand above them."
)
BRACKETS = "[brackets]: tokens above half of the feature's strongest activation here"


def show_standing(atlas: Any, console: Console) -> None:
    """Print what share of scored explanations stands above each control, for each scorer."""
    rows = atlas.standing()
    if rows:
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("scorer")
        table.add_column("method", overflow="fold")
        for name in ("scored", "median", "above shuffled", "above random"):
            table.add_column(name, justify="right", min_width=6)
        for row in rows:
            shares = ("–" if row[name] is None else f"{row[name]:.0%}" for name in ("above_shuffled", "above_random"))
            table.add_row(Text(row["scorer"]), Text(row["method"]), f"{row['n']:,}", f"{row['median']:.2f}", *shares)
        console.print(table)
        console.print(Text(translate(ABOVE), style="dim"))


def feature_values(feature: Any, limit: int | None) -> dict[str, Any]:
    """A feature as plain values, with at most so many passages."""
    values: dict[str, Any] = plain(feature)
    values["examples"] = values["examples"][:limit]
    for score, one in zip(values["scores"], feature.scores, strict=True):
        score["margin"] = one.margin
    return values


def show_feature(feature: Any, limit: int | None, console: Console) -> None:
    """Print a feature: metrics, explanations with scores and votes, tokens it promotes, passages with heat."""
    from monosema.models import quoted, visible

    values = feature_values(feature, limit)
    label = values["label"] or translate("no label")
    console.print(Text.assemble((translate(f"feature {values['latent']}"), "bold"), "  ", visible(label)))
    rate = translate(f"{values['density']:.3%} of tokens, max {number(values['max'])}, mean {number(values['mean'])}")
    console.print(Text.assemble((lead("fires on"), "dim"), rate))
    for name in ("promoted", "suppressed"):
        if tokens := values[name]:
            words = "  ".join(quoted(token["token"]) for token in tokens[:10])
            console.print(Text.assemble((lead(name), "dim"), words))
    if neighbours := values["neighbours"]:
        near = "  ".join(f"{other['other']} ({other['value']:.2f}, {other['kind']})" for other in neighbours[:6])
        console.print(Text.assemble((lead("near"), "dim"), near))
    console.print()
    show_explanations(feature, console)
    rows = Table(box=None, show_header=False, padding=(0, 1, 1, 0))
    for example in values["examples"]:
        kind = Text(f"{example['kind']:>4} {example['maximum']:6.2f} ", style="dim")
        rows.add_row(kind, heat_text(example["tokens"], example["activations"], values["max"]))
    console.print(Padding(rows, (1, 0, 0, 0)))


def show_explanations(feature: Any, console: Console) -> None:
    """Print all explanations of a feature: what stands highest above its controls first, with all scores and votes."""
    from monosema.models import visible

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("explanation")
    for name in ("score", "shuffled", "random", "above"):
        table.add_column(name, justify="right", no_wrap=True)

    def margins(one: Any) -> list[float]:
        return [score.margin for score in feature.scores if score.identity == one.identity and score.margin is not None]

    for one in sorted(feature.explanations, key=lambda one: -max(margins(one), default=float("-inf"))):
        who = one.method if one.author in (one.method, "monosema") else f"{one.method}, {one.author}"
        votes = [vote for vote in feature.votes if (vote.identity, vote.text) == (one.identity, one.text)]
        cast = "".join(f"; {vote.voter}: {'right' if vote.vote > 0 else 'wrong'}" for vote in votes)
        table.add_row(Text.assemble((f"{who}{cast}: ", "bold"), visible(one.text)), "", "", "", "")
        for score in feature.scores:
            if score.identity == one.identity:
                row = plain(score) | {"value": score.estimate.value, "margin": score.margin}
                row["random"] = None if score.random is None else score.random.value
                table.add_row(Text(f"  {score.scorer}", style="dim"), *_controlled(row))
    console.print(table if feature.explanations else "It has no explanation.")
