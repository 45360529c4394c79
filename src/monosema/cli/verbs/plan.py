"""plan: what a run will take, before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from monosema.cli.common import DEFAULTS, Common, Keys, deliver
from monosema.cli.verbs.run import read_request


def plan(
    *keys: Keys,
    machine: Annotated[
        list[str] | None, Parameter(help="this, rtx-4090:4 (four of them), h100:8, or a TOML file; may be repeated.")
    ] = None,
    shape: Annotated[
        str | None, Parameter(help="The model's shape, where it isn't at hand: layers=28,width=3072,vocab=128256.")
    ] = None,
    latent_shards: Annotated[
        int | None, Parameter(help="Parts to divide the latents into; without it the fewest that fit.")
    ] = None,
    price: Annotated[float | None, Parameter(help="Price of one device for an hour.")] = None,
    common: Common = DEFAULTS,
) -> int:
    """Predict memory, disk, time and money of a run on one or several machines. Nothing is downloaded or trained.

    Time is for the stated share of nominal rates, and good to its order of magnitude; memory is for one device.
    Explaining and scoring are those by programs, without a language model.

    ```
    monosema plan
    monosema plan runs/small --machine this --machine h100:8
    monosema plan --shape layers=28,width=3072,vocab=128256,mlp=8192,kv_width=1024 --site 23.resid_post \\
      --tokens 700000000 --passes 10 --latents 65536 --k 64 --batch 8192 --machine rtx-4090:8
    ```

    Parameters
    ----------
    keys
        A recipe or run folder and any number of `--key value`, as for `run`. `--model` may also be the path of a
        config.json.
    """
    from monosema.runs import plan as plan_run
    from monosema.runs.machines import read_machines
    from monosema.runs.model_shape import ModelShape

    recipe, _ = read_request(keys, None, common)
    found = ModelShape.parse(shape) if shape else ModelShape.of(recipe.model.name)
    machines = read_machines(machine or ["this"], common.device)
    if price is not None:
        machines = [one.replace(price_per_hour=price) for one in machines]
    plans = [plan_run(recipe, found, one, latent_shards).to_dict() for one in machines]
    return deliver({"plans": plans}, common, lambda console: _show(plans, console))


def _show(plans: Sequence[dict[str, Any]], console: Console) -> None:
    for one in plans:
        machine = one["machine"]
        console.print(f"[bold]{machine['devices']} × {machine['name']}[/]  {machine['source']}", highlight=False)
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("", "time", "memory", "disk", "price", "bound by"):
            table.add_column(name, justify="left" if name in ("", "bound by") else "right")
        for stage in one["stages"]:
            room = "" if stage["fits"] else " too much"
            table.add_row(
                f"[bold]{stage['stage']}",
                _time(stage["hours"]),
                _size(stage["memory_gb"]) + room,
                _size(stage["disk_gb"]),
                _price(stage["price"]),
                stage["bound"],
            )
        table.add_row("together", _time(one["hours"]), "", _size(one["disk_gb"]), _price(one["price"]), "")
        console.print(table)
        shards = one["latent_shards"]
        groups, divided = machine["devices"] // shards, f", latents among {shards} devices" if shards > 1 else ""
        layout = f"batch divided by {groups}{divided}" if machine["devices"] > 1 else ""
        console.print(f"{one['tokens']:,} tokens, {one['steps']:,} steps  {layout}", style="dim", highlight=False)
        console.print()


def _time(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:,.1f} days"
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.1f} s"


def _size(gigabytes: float) -> str:
    if gigabytes >= 1000:
        return f"{gigabytes / 1000:,.1f} TB"
    return f"{gigabytes:,.1f} GB" if gigabytes >= 1 else f"{gigabytes * 1000:,.0f} MB"


def _price(price: float | None) -> str:
    return "–" if price is None else f"{price:,.2f}"
