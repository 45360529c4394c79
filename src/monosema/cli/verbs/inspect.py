"""inspect: models side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console


def inspect(model: str = "specimen", /, *models: str, common: Common = DEFAULTS) -> int:
    """Show what models are made of, side by side.

    Layers, widths, heads, context, vocabulary, position encoding, normalisation, parameters by part, floating-point
    operations a token, and bytes of cache a token. Ends with 1 where a directory's files can't be loaded.

    ```
    monosema inspect specimen
    monosema inspect specimen ./my-llama EleutherAI/pythia-70m --json
    ```

    Parameters
    ----------
    model
        `specimen`, the embedded model; `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub.
    models
        Further models to put beside it.
    """
    from monosema.models import model_facts

    facts = [model_facts(name).to_dict() for name in (model, *models)]
    result = facts[0] if len(facts) == 1 else {"models": facts}
    deliver(result, common, lambda console: _show(facts, console))
    problems = [values["problem"] for values in facts if values["problem"]]
    for problem in problems:
        errors_console().print(f"This model can't be loaded: {problem}", style="red", markup=False)
    return 1 if problems else 0


def _show(facts: list[dict[str, Any]], console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for values in facts:
        table.add_column(Text(Path(str(values["name"])).name), overflow="fold")
    for words, say in _LINES.items():
        cells = [say(values) for values in facts]
        if any(cell is not None for cell in cells):
            table.add_row(f"[bold]{words}", *(Text(cell or "–") for cell in cells))
    for part in dict.fromkeys(part for values in facts for part in values["parameters"] if part != "total"):
        table.add_row(f"  {part}", *(Text(_amount(values["parameters"].get(part), "") or "–") for values in facts))
    console.print(table)
    for values in facts:
        console.print(Text(f"{values['path']}", style="dim"), soft_wrap=True)


def _amount(value: int | None, unit: str) -> str | None:
    """Return a number with its unit, in thousands, millions … where it is long."""
    if value is None:
        return None
    power = next((power for power in (4, 3, 2, 1) if value >= 1000**power and value >= 100_000), 0)
    said = f"{value / 1000**power:.3g}" if power else f"{value:,}"
    return f"{said} {('', 'k', 'M', 'G', 'T')[power]}{unit}".strip()


def _heads(values: dict[str, Any]) -> str | None:
    heads, shared, width = values["heads"], values["kv_heads"], values["d_head"]
    if heads is None or width is None:
        return None
    return f"{heads} of width {width}" + ("" if shared in (None, heads) else f", {shared} with keys and values")


_LINES: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "family": lambda values: values["family"],
    "layers": lambda values: _amount(values["layers"], ""),
    "width (d_model)": lambda values: _amount(values["d_model"], ""),
    "MLP width (d_mlp)": lambda values: _amount(values["d_mlp"], ""),
    "heads": _heads,
    "context": lambda values: _amount(values["context"], "tokens"),
    "vocabulary": lambda values: _amount(values["vocab"], "tokens"),
    "positions": lambda values: values["positions"],
    "normalisation": lambda values: values["normalisation"],
    "activation": lambda values: values["activation"],
    "blocks": lambda values: values["blocks"],
    "unembedding": lambda values: {True: "the embedding's", False: "its own", None: None}[values["tied"]],
    "precision": lambda values: values["precision"],
    "cache, each token": lambda values: _amount(values["cache_bytes_per_token"], "B"),
    "products, each token": lambda values: _amount(values["flop_per_token"], "FLOP"),
    "attention, full context": lambda values: _amount(values["attention_flop_per_token"], "FLOP a token"),
    "parameters": lambda values: _amount(values["parameters"].get("total"), ""),
}
"""Lines of the table: words, and the value as people read it."""
