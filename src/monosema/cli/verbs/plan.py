"""plan: what a run will take, before anything is done."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from monosema.cli.common import DEFAULTS, Common, deliver
from monosema.cli.keys import AS_RECIPE, Keys, Wanted
from monosema.cli.verbs.run import read_request


def plan(*keys: Keys, wanted: Wanted = AS_RECIPE, common: Common = DEFAULTS) -> int:
    """Predict time, memory and disk of a run's stages on this machine. No weights are read and nothing is trained.

    Time is the least that the arithmetic takes at the rates measured here; memory is the peak of the process.
    Explaining and scoring are not predicted.

    ```
    monosema plan
    monosema plan smollm2 --tokens 2000000
    ```

    Parameters
    ----------
    keys
        A recipe or run folder and any number of `--key value`, as for `run`.
    """
    from monosema.runs.plan import Machine
    from monosema.runs.plan import plan as predict

    recipe, _ = read_request((*keys, *wanted.words()), None, common)
    found = predict(recipe, Machine.measured(common.device)).to_dict()
    return deliver(found, common, lambda console: _show(found, console))


def _show(found: dict[str, Any], console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "arithmetic", "time, at least", "memory", "disk"):
        table.add_column(name, justify="right" if name else "left")
    for stage in found["stages"]:
        time, memory, disk = _time(stage["seconds"]), _size(stage["memory_gb"]), _size(stage["disk_gb"])
        table.add_row(f"[bold]{stage['stage']}", f"{stage['tflop']:,.2f} TFLOP", time, memory, disk)
    table.add_row("together", "", _time(found["seconds"]), _size(found["memory_gb"]), _size(found["disk_gb"]))
    console.print(table)
    machine = found["machine"]
    room = "" if found["fits"] else f" That is too much: the device has {_size(machine['memory_gb'])}."
    rates = f"{machine['gflops']:,.0f} GFLOP/s, {machine['memory_gb_s']:,.0f} GB/s"
    console.print(f"{machine['device']}, measured: {rates}.{room}", style="dim", highlight=False)


def _time(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:.1f} s"


def _size(gigabytes: float) -> str:
    return f"{gigabytes:,.1f} GB" if gigabytes >= 1 else f"{gigabytes * 1000:,.0f} MB"
