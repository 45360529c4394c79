"""inspect: models side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.core.language import translate


def inspect(model: str = "specimen", /, *models: str, common: Common = DEFAULTS) -> int:
    """Show what models are made of, side by side.

    Layers, widths, heads, context, vocabulary, position encoding, normalisation, parameters by part, floating-point
    operations a token, and bytes of cache a token. Ends with 1 where a directory's files can't be loaded. gpt-2, gpt-3,
    gpt-3.5 and gpt-4 are shown as published, each fact with its source, and the rest as unpublished.

    ```
    monosema inspect specimen
    monosema inspect specimen ./my-llama EleutherAI/pythia-70m --json
    monosema inspect gpt-2 gpt-3 gpt-3.5 gpt-4
    ```

    Parameters
    ----------
    model
        `specimen`, the embedded model; `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub.
    models
        Further models to put beside it.
    """
    facts = [_facts_of(name) for name in (model, *models)]
    result = facts[0] if len(facts) == 1 else {"models": facts}
    deliver(result, common, lambda console: _show(facts, console))
    problems = [values["problem"] for values in facts if values.get("problem")]
    for problem in problems:
        errors_console().print(f"This model can't be loaded: {problem}", style="red", markup=False)
    return 1 if problems else 0


def _facts_of(name: str) -> dict[str, Any]:
    from monosema.models import gpt_family, model_facts

    return gpt_family()[name] if name in gpt_family() else model_facts(name).to_dict()


def _show(facts: list[dict[str, Any]], console: Console) -> None:
    """Print as many models side by side as are readable in the width, and the others below."""
    abreast = max(1, (console.width - _NAMES) // _COLUMN)
    for first in range(0, len(facts), abreast):
        console.print(_table(facts[first : first + abreast]))
    for values in facts:
        where = f"{values['name']}: {values['source']}" if "source" in values else values["path"]
        console.print(Text(where, style="dim"), soft_wrap="source" not in values)


def _table(facts: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for values in facts:
        name = str(values["name"])
        table.add_column(Text(name if "source" in values else Path(name).name), overflow="fold")
    for words, say in _LINES.items():
        cells = [say(values) for values in facts]
        if any(cell is not None for cell in cells):
            table.add_row(f"[bold]{words}", *(Text(translate(cell or "–")) for cell in cells))
    for part in dict.fromkeys(part for values in facts for part in values["parameters"] if part != "total"):
        table.add_row(f"  {part}", *(Text(_amount(values["parameters"].get(part), "") or "–") for values in facts))
    return table


def _amount(value: int | str | None, unit: str) -> str | None:
    """Return a number with its unit, in thousands, millions … where it is long; words as they are."""
    if value is None or isinstance(value, str):
        return value
    power = next((power for power in (4, 3, 2, 1) if value >= 1000**power and value >= 100_000), 0)
    said = f"{value / 1000**power:.3g}" if power else f"{value:,}"
    return f"{said} {('', 'k', 'M', 'G', 'T')[power]}{unit}".strip()


def _vocabulary(size: int | str) -> str:
    return size if isinstance(size, str) else f"{size:,} tokens"


def _heads(values: dict[str, Any]) -> str | None:
    heads, shared, width = values["heads"], values.get("kv_heads"), values.get("d_head")
    if heads is None or width is None:
        return _amount(heads, "")
    return f"{heads} of width {width}" + ("" if shared in (None, heads) else f", {shared} with keys and values")


_NAMES, _COLUMN = 26, 24
"""Columns of the first column of the table, and of each model at least."""

_LINES: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "family": lambda values: values.get("family"),
    "layers": lambda values: _amount(values.get("layers"), ""),
    "width (d_model)": lambda values: _amount(values.get("d_model"), ""),
    "MLP width (d_mlp)": lambda values: _amount(values.get("d_mlp"), ""),
    "heads": _heads,
    "context": lambda values: _amount(values.get("context"), "tokens"),
    "vocabulary": lambda values: _vocabulary(values["vocab"]),
    "architecture": lambda values: values.get("architecture"),
    "tokenizer": lambda values: values.get("tokenizer"),
    "data": lambda values: values.get("data"),
    "training": lambda values: values.get("training"),
    "released": lambda values: values.get("released"),
    "weights": lambda values: {True: "published", False: "not published", None: None}[values.get("weights")],
    "positions": lambda values: values.get("positions"),
    "normalisation": lambda values: values.get("normalisation"),
    "activation": lambda values: values.get("activation"),
    "blocks": lambda values: values.get("blocks"),
    "unembedding": lambda values: {True: "the embedding's", False: "its own", None: None}[values.get("tied")],
    "precision": lambda values: values.get("precision"),
    "cache, each token": lambda values: _amount(values.get("cache_bytes_per_token"), "B"),
    "products, each token": lambda values: _amount(values.get("flop_per_token"), "FLOP"),
    "attention, full context": lambda values: _amount(values.get("attention_flop_per_token"), "FLOP a token"),
    "parameters": lambda values: _amount(values["parameters"].get("total"), ""),
}
"""Lines of the table: words, and the value as people read it."""
