"""search: features by words, by token, by effect, or by a passage they fire on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver
from monosema.core.language import translate


def search(
    run: Path,
    text: str | None = None,
    /,
    *,
    token: str | None = None,
    passage: str | None = None,
    effect: str | None = None,
    limit: Annotated[int, Parameter(help="Features listed at most; 0 for all.")] = 20,
    out: Path | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Find features: by words of their labels, by a token they fire on or promote, or by a passage.

    ```
    monosema search runs/demo "month"                 words of labels, explanations and tokens
    monosema search runs/demo --token " Monday"       features that fire on a token
    monosema search runs/demo --effect " Monday"      features that promote a token, or suppress it
    monosema search runs/demo --passage "She left on Monday."
    monosema search runs/demo --passage "She left on Monday." --out monday.parquet
    ```

    A passage is run through the model and the run's dictionary; features come in the order of their activation as a
    part of their own maximum.

    Parameters
    ----------
    run
        A run folder; for all but a passage, the folder of an atlas will do.
    text
        Words; a feature has to have all of them.
    token
        A token's text, with or without the space before it.
    passage
        A text to run the model on; in a run of items, the name of one.
    effect
        A token's text, with or without the space before it.
    out
        With a passage: a .parquet or .csv file of all features on all its tokens, a row for each.
    """
    from monosema.core import InputError

    asked = {"text": text, "token": token, "passage": passage, "effect": effect}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1:
        raise InputError('Search for one thing: monosema search RUN "words", or --token, --effect or --passage.')
    if passage is not None:
        return _passage(run, passage, limit, out, common)
    if out is not None:
        raise InputError("--out writes the features on a passage's tokens: give one with --passage.")
    from monosema.atlas import open_atlas

    atlas = open_atlas(run)
    searches: dict[str, Any] = {"text": atlas.search, "token": atlas.search_token, "effect": atlas.search_effect}
    found = searches[given[0]](asked[given[0]] or "", limit=limit or None)
    metric = {"text": "relevance", "token": "share", "effect": "effect"}[given[0]]
    result = {"by": given[0], "query": asked[given[0]], "features": found}

    def show(console: Console) -> None:
        _show(found, metric, console)
        if not found and not (token or effect or "").isascii():
            console.print(Text(translate(_of_several_tokens(run, token or effect or ""))))

    return deliver(result, common, show)


def _of_several_tokens(run: Path, text: str) -> str:
    """Say that a text in which no token was found may be several tokens, and how to search for these."""
    name, spelt = shlex.quote(text), text.encode().hex(" ").upper()
    said = f"A token is looked for as a whole, and {name} may be several (as bytes: {spelt})."
    return f"{said} Search for what fires on it: monosema search {shlex.quote(str(run))} --passage {name}"


_MEANS = {
    "relevance": "relevance: how well the words fit: top tokens, the label, passages",
    "share": "share: part of the feature's activation that is on the token",
    "effect": (
        "effect: the token's logit along the feature's direction times its largest activation, up to the final norm's "
        "scale; below 0 the feature suppresses the token"
    ),
}


def _show(rows: Sequence[Mapping[str, Any]], metric: str, console: Console) -> None:
    from monosema.cli.features import ABOVE, show_features

    show_features(rows, console, metric)
    if rows:
        console.print(Text(f"{translate(_MEANS[metric])}. {translate(ABOVE)}", style="dim"))


def _passage(folder: Path, text: str, limit: int, out: Path | None, common: Common) -> int:
    from monosema.atlas import fires_on
    from monosema.atlas.fired_table import write_fired
    from monosema.cli.printing import plain
    from monosema.runs import Run, open_model

    opened = Run.open(folder)
    model = open_model(opened.recipe, common.device)
    dictionary: Any = opened.dictionary()
    dictionary = dictionary.to(model.device)
    everything = fires_on(opened.atlas(), model, dictionary, text, None)
    if out is not None:
        write_fired(everything.table(), out)
    fired = replace(everything, firings=everything.firings[: limit or None])
    return deliver(
        {"by": "passage", "query": text, **plain(fired)},
        common,
        lambda console: _show_fired(fired, opened.recipe.of_items, console),
    )


def _show_fired(fired: Any, of_items: bool, console: Console) -> None:
    from monosema.cli.features import BRACKETS, heat_text
    from monosema.cli.printing import number
    from monosema.models import shown_tokens, visible

    if not fired.firings:
        console.print("No feature fires on this item." if of_items else "No feature fires on this passage.")
        return
    said = f"{fired.active} features fire on {sum(fired.looked_at)} tokens."
    console.print(f"{fired.active} features fire on this item." if of_items else said)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name, justify in (("feature", "right"), ("of its max", "right"), ("where / why it is here", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    shown = shown_tokens(fired.tokens)
    for one in fired.firings:
        values = [0.0] * len(fired.tokens)
        for position, value in zip(one.positions, one.activations, strict=True):
            values[position] = value
        peak = values.index(one.maximum)
        word = next(piece.text.strip() for piece in shown if piece.start <= peak < piece.stop)
        share = "never seen" if one.share is None else f"{one.share:.0%}" if one.share < 10 else f"{one.share:.0f} ×"
        where = heat_text(fired.tokens, values, one.maximum, 8)
        peak_said = translate(f"{number(one.maximum)} on “{visible(word)}”")
        why = f"\n{peak_said}; {translate('label')}: {visible(one.label or translate('none'))}"
        table.add_row(str(one.latent), share, where.append(why, style="dim"))
    console.print(table)
    console.print(Text(translate(BRACKETS), style="dim"))
