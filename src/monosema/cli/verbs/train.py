"""train: a dictionary or many at once, on a run's activations or on any matrix of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.cli.keys import AS_RECIPE, Keys, Wanted
from monosema.cli.verbs.run import LatentShards, Out, Update, make_run, read_request, run_until


def train(
    *keys: Keys,
    wanted: Wanted = AS_RECIPE,
    activations: Annotated[
        Path | None, Parameter(help="A .npy, .npz, .safetensors or .parquet matrix, or a captured store.")
    ] = None,
    names: Annotated[
        Path | None,
        Parameter(
            help="Names of the rows of --activations: a .parquet, .csv or .txt file. Makes a whole run of items."
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        Parameter(help="A key and its values, k=16,32 or topk.k=16,32; may be repeated for all combinations."),
    ] = None,
    fit_scaling: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Fit how FVU falls with latents and k, which --sweep varies."),
    ] = False,
    latent_shards: LatentShards = 1,
    out: Out = None,
    update: Update = False,
    common: Common = DEFAULTS,
) -> int:
    """Train a dictionary: on a run's activations, or on any matrix of vectors. With --sweep many, in one pass.

    Of a matrix, the last 20,480 rows (at most a tenth) are held out, so its rows should not be sorted; the dictionary
    is saved in --out, over another one only with --update. A sweep draws FVU against L0, a line an architecture, and
    marks the front: what no other betters in both. To compare at equal sparsity give --target-l0, which finds the
    penalty's weight (or is k).

    With --names the rows are items, and --out becomes a whole run: held-out metrics of a tenth of the items, an atlas,
    labels from the columns of the names, their scores, and a report.

    ```
    monosema train runs/small
    monosema train runs/small --architecture l1 --sweep alpha=1,3,10
    monosema train runs/small --sweep topk.k=16,32,64 --sweep gated.alpha=2,5,12
    monosema train runs/small --sweep architecture=topk,jumprelu --sweep target-l0=16,32
    monosema train --activations vectors.npy --latents 12288 --k 32 --batch 4096 --out dictionaries/mine
    monosema train --activations films.npy --names films.parquet --out runs/films
    monosema train --activations vectors.npy --sweep latents=1024,2048,4096 --sweep k=16,32,64 --fit-scaling \\
      --out dictionaries/scaling
    ```

    Parameters
    ----------
    keys
        With a run: a recipe or run folder and `--key value`, as for `run`. With --activations: `--architecture`,
        `--latents`, `--k` or `--alpha`, `--batch`, `--passes`, `--heldout`, `--site`, and all keys of training
        (`--lr`, `--warmup`, `--optimiser` …). Started by torchrun, all processes share the work; see docs/cluster.md.
    """
    from monosema.core import InputError
    from monosema.runs import parse_sweep

    keys = (*keys, *wanted.words())
    if names is not None:
        return _items(activations, names, keys, out, update, common, latent_shards, bool(sweep))
    if fit_scaling and not sweep:
        raise InputError("--fit-scaling needs several widths and k: --sweep latents=1024,2048,4096 --sweep k=16,32,64.")
    if sweep:
        return _sweep(keys, activations, parse_sweep(sweep), fit_scaling, out, update, common, latent_shards)
    if activations is None:
        return run_until("train", keys, out, update, common, latent_shards)
    from monosema.runs import read_vector_recipe, train_vectors
    from monosema.training.distribution import first_process

    if out is None:
        raise InputError("Say where the dictionary goes: --out FOLDER.")
    recipe = read_vector_recipe(keys, common.seed)
    values = train_vectors(activations, out, recipe, common.device, latent_shards, update).to_dict()
    if not first_process():
        return 0
    if missed := values.pop("missed"):
        errors_console().print(missed, style="yellow")
    return deliver(values, common, lambda console: _show(values, console))


def _items(
    activations: Path | None,
    names: Path,
    keys: tuple[str, ...],
    out: Path | None,
    update: bool,
    common: Common,
    latent_shards: int,
    sweep: bool,
) -> int:
    """Make a whole run over items that have names."""
    from monosema.core import InputError
    from monosema.runs import item_recipe

    if activations is None or sweep:
        raise InputError("--names gives names to the rows of --activations, in one run: leave out --sweep.")
    recipe = item_recipe(activations, names, keys, common.seed)
    return make_run(recipe, out or Path("runs") / recipe.name, None, update, common, latent_shards)


def _sweep(
    keys: Sequence[str],
    activations: Path | None,
    sweep: dict[str, list[str]],
    fit_scaling: bool,
    out: Path | None,
    update: bool,
    common: Common,
    latent_shards: int,
) -> int:
    from monosema.core import InputError
    from monosema.runs import fit_sweep, read_vector_recipe, sweep_run, sweep_vectors
    from monosema.training.distribution import first_process

    console = errors_console()
    if activations is not None:
        if out is None:
            raise InputError("Say where the sweep goes: --out FOLDER.")
        folder = out
        recipe = read_vector_recipe(keys, common.seed)
        result = sweep_vectors(activations, out, recipe, sweep, common.device, update, latent_shards)
    else:
        of_run, run_folder = read_request(tuple(keys), out, common)
        result, folder = sweep_run(
            of_run,
            run_folder,
            sweep,
            device=common.device,
            update=update,
            log=lambda line: console.print(line, style="dim"),
            latent_shards=latent_shards,
        )
    if not first_process():
        return 1 if result.stopped else 0
    values = {**result.to_dict(), "folder": str(folder.resolve())}
    if fit_scaling:
        values["scaling"] = fit_sweep(result, folder, common.seed or 0).to_dict()
    deliver(values, common, lambda results: _show_sweep(values, results))
    for trial in result.trials:
        if trial.missed:
            console.print(f"{trial.name}: {trial.missed}", style="yellow")
    for reason in result.stopped:
        console.print(reason, style="bold red")
    return 1 if result.stopped else 0


def _show(values: dict[str, Any], console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in values.items():
        table.add_row(f"[bold]{name.replace('_', ' ')}", _text(value))
    console.print(table)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _show_sweep(values: dict[str, Any], console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    shown = {"fvu": "FVU", "l0": "L0", "alive": "alive", "coefficient": "coefficient"}
    if all(member["coefficient"] is None for member in values["members"]):
        del shown["coefficient"]
    for name in ("dictionary", *shown.values(), ""):
        table.add_column(name, justify="left" if name in ("dictionary", "") else "right")
    for member in values["members"]:
        note = "stopped" if member["stopped"] else "front" if member["name"] in values["front"] else ""
        table.add_row(member["name"], *(_text(member[name]) for name in shown), note)
    console.print(table)
    console.print(
        "[dim]front: no other of the same site has a lower FVU at this L0 (5 % more count as equal) or below."
    )
    for name, figure in values.get("scaling", {}).get("parameters", {}).items():
        console.print(f"{name} {figure['value']:.4g} ({figure['low']:.4g} … {figure['high']:.4g})")
    console.print(f"[dim]{values['folder']}")
