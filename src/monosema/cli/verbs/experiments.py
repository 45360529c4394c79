"""experiments: the causal experiments of the paper on sparse dictionaries, each answered in a sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table as RichTable

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.core import ConfigError, InputError

if TYPE_CHECKING:
    from monosema.pages.experiment import ExperimentPage


def experiments(
    name: str,
    model: str = "specimen",
    /,
    *,
    layers: str | None = None,
    prompts: int = 50,
    thresholds: int = 7,
    finest: float = 1e-3,
    latents: str | None = None,
    dims: int = 1,
    text: str = "builtin",
    tokens: int = 500_000,
    skip_first: int = 0,
    ratio: int = 4,
    alphas: str | None = None,
    seeds: int = 3,
    memory_mb: int = 512,
    out: Path | None = None,
    update: Annotated[bool, Parameter(negative="")] = False,
    common: Common = DEFAULTS,
) -> int:
    """Repeat causal experiments of 2309.08600 and 2403.19647 on any model, and say whether their claims hold there.

    ioi: how few features, and how small an edit, carry an answer over: sparse dictionaries with several weights of the
    penalty, without one, PCA, ICA and random directions. erasure: a latent's direction against the mean difference,
    LEACE and random ones in taking gender out, with the damage on other text. perplexity: what the model predicts on
    reconstructions, layer by layer, beside PCA. shift: latents that answer to a cue that nobody wants are taken out of
    a classifier that learnt it, beside deletion of tokens, neurons, LEACE and latents at random. align: the subspace
    whose exchange turns an answer round, in a model where it is known and in this one, beside what would expose an
    illusion.

    Each experiment trains the dictionaries that it needs, goes on where it was interrupted, and writes a page with
    figures, as Markdown and JSON too.

    ```
    monosema experiments ioi
    monosema experiments erasure --layers 2
    monosema experiments ioi smollm2 --layers 22 --text books.parquet --skip-first 2 --seeds 1
    ```

    Parameters
    ----------
    name
        The experiment: ioi, erasure, perplexity, shift or align.
    model
        A model, as for `run`.
    layers
        Layers whose residual stream is looked at, with commas between.
    prompts
        Of ioi and align: prompts to choose with; as many others are measured on. Of shift: texts of each
        group to measure.
    thresholds
        Of ioi: divergences that dropping a feature may add, up to 1; the paper has 50.
    finest
        Of ioi: the smallest of them, in nats; the paper has 1e-5.
    latents
        Of shift: latents to ablate besides those that the rule finds, such as 2.17,3.40: see the table that it gives.
    dims
        Of align: dimensions of the subspace.
    text
        What dictionaries are trained on: builtin, a file or folder, or hf:NAME.
    tokens
        Tokens of it.
    skip_first
        Tokens at the beginning of each window that are left out besides the first.
    ratio
        Latents of a dictionary for each value of an activation.
    alphas
        Weights of the sparsity penalty, with commas between.
    seeds
        Dictionaries of each weight, and orders in which features are tried.
    memory_mb
        Megabytes that a pass may take beside the model; with less, fewer texts run as one batch.
    out
        Folder of the result; without it runs/NAME-MODEL.
    update
        Begin anew where the folder holds the experiment with other settings.
    """
    from monosema.circuits import pass_memory
    from monosema.runs.experiments import ExperimentConfig, TrainingChoice, experiment_named, run_experiment

    experiment_named(name)
    chosen: dict[str, Any] = {"text": text, "tokens": tokens, "skip_first": skip_first, "ratio": ratio, "seeds": seeds}
    if alphas is not None:
        chosen["alphas"] = tuple(_numbers("--alphas", alphas, float))
    try:
        config = ExperimentConfig(
            layers=tuple(_numbers("--layers", layers or "", int)),
            prompts=prompts,
            thresholds=thresholds,
            finest=finest,
            latents=tuple(filter(None, map(str.strip, (latents or "").split(",")))),
            dims=dims,
            seed=common.seed or 0,
            training=TrainingChoice(**chosen),
        )
    except ConfigError as error:
        raise InputError(re.sub(r"(ExperimentConfig|TrainingChoice)\.", "--", str(error))) from None
    folder = out or Path("runs") / f"{name}-{Path(model).name}"
    with pass_memory(memory_mb):
        page = run_experiment(name, model, folder, config, common.device, update)
    values = {"folder": str(folder.resolve()), "verdict": page.verdict, **page.values}
    errors_console().print(str((folder / "index.html").resolve()), style="dim")
    return deliver(values, common, lambda console: _show(page, console))


def _numbers(flag: str, words: str, kind: type[Any]) -> list[Any]:
    try:
        return [kind(word) for word in words.split(",") if word.strip()]
    except ValueError:
        raise InputError(f"{flag} {words} is not valid: give numbers with commas between.") from None


def _show(page: ExperimentPage, console: Console) -> None:
    console.print(page.title, style="bold")
    console.print(page.method, style="dim")
    for shown in page.tables:
        table = RichTable(box=None, padding=(0, 2, 0, 0), title=shown.caption, title_justify="left")
        for index, head in enumerate(shown.head):
            table.add_column(head, justify="right" if index else "left")
        for row in shown.rows:
            table.add_row(*row)
        console.print(table)
    console.print(page.verdict, style="bold")
    for note in page.notes:
        console.print(note, style="dim")
