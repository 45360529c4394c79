"""inspect: models side by side."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

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
    from monosema.runs import flatten

    flat = [flatten(values) for values in facts]
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("")
    for values in flat:
        table.add_column(str(values["name"]), justify="right", overflow="fold")
    names = list(dict.fromkeys(name for values in flat for name in values if name not in ("name", "problem")))
    for name in names:
        table.add_row(
            f"[bold]{name.replace('_', ' ').replace('.', ' · ')}", *(_text(values.get(name)) for values in flat)
        )
    console.print(table)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:,}"
    return str(value)
