"""doctor: what this machine can do, measured."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from monosema.cli.common import DEFAULTS, Common, deliver


def doctor(*, common: Common = DEFAULTS) -> int:
    """Measure this machine: product rates, memory, GPU, versions, and which kernels will be used.

    ```
    monosema doctor
    monosema doctor --json
    ```
    """
    from monosema.runs import examine

    facts = examine(common.device)
    return deliver(facts, common, lambda console: _show(facts, console))


def _show(facts: dict[str, Any], console: Console) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        for line, (label, text) in enumerate(_lines(name, value)):
            table.add_row(f"[bold]{name.replace('_', ' ')}" if line == 0 else "", label, text)
    console.print(table)


def _lines(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [(label.replace("_", " "), _text(label, item)) for label, item in value.items()]
    return [("", _text(name, value))]


def _text(label: str, value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        unit = " GFLOP/s" if label.endswith("gflops") else " GiB" if label.endswith("_gb") else ""
        return f"{value:,.1f}{unit}"
    return f"{value:,}" if isinstance(value, int) else str(value)
