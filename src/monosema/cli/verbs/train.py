"""train: a dictionary, on a run's activations or on any matrix of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from monosema.cli.common import DEFAULTS, Common, Keys, deliver
from monosema.cli.verbs.walk import Out, Update, walk

__all__ = ["train"]


def train(
    *keys: Keys,
    activations: Annotated[
        Path | None, Parameter(help="A .npy, .safetensors or .parquet matrix, or a captured store.")
    ] = None,
    out: Out = None,
    update: Update = False,
    common: Common = DEFAULTS,
) -> int:
    """Train a dictionary: on a run's activations, or on any matrix of vectors.

    Of a matrix, the last 20,480 rows (at most a tenth) are held out; the dictionary is saved in --out.

    ```
    monosema train runs/small
    monosema train --activations vectors.npy --latents 12288 --k 32 --batch 4096 --out dictionaries/mine
    ```

    Parameters
    ----------
    keys
        With a run: a recipe or run folder and `--key value`, as for `run`. With --activations: `--latents`, `--k`,
        `--batch`, `--passes`, `--heldout`, and all keys of training (`--lr`, `--warmup` …).
    """
    if activations is None:
        return walk("train", keys, out, update, common)
    from monosema.core import InputError, progress_bar
    from monosema.runs import read_vector_recipe, train_vectors

    if out is None:
        raise InputError("Say where the dictionary goes: --out FOLDER.")
    recipe = read_vector_recipe(keys, common.seed)
    with progress_bar("train", None, "vectors") as bar:
        result = train_vectors(activations, out, recipe, bar)
    values = result.to_dict()
    return deliver(values, common, lambda console: _show(values, console))


def _show(values: dict[str, Any], console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in values.items():
        text = (
            "–"
            if value is None
            else f"{value:,.4g}"
            if isinstance(value, float)
            else f"{value:,}"
            if isinstance(value, int)
            else str(value)
        )
        table.add_row(f"[bold]{name.replace('_', ' ')}", text)
    console.print(table)
