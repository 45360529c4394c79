"""patch: what becomes of an answer when one place after another is exchanged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.cli.verbs.steer import labels_of
from monosema.core import ConfigError, InputError
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.circuits import Patching, PatchTable, Ranked
    from monosema.runs.subject import Subject

_WARM, _COLD = (194, 65, 12), (27, 108, 168)
_DRAWN = 3
"""Units drawn at random that are shown."""


def patch(
    task: str,
    /,
    *,
    what: str = "residual",
    run: Path | None = None,
    model: str | None = None,
    direction: str = "noising",
    ablation: str = "resample",
    metric: str | None = None,
    prompts: int = 32,
    positions: str = "roles",
    path: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    top: int = 20,
    memory_mb: int = 512,
    out: Path | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Exchange one place of a model after another, and show what becomes of the answer: activation patching.

    Each place's activation on a clean prompt is replaced by that on the corrupted one, all else left alone. Shares of
    the difference between the two prompts stand in a heat map; those that are not told from chance are dim.

    ```
    monosema patch ioi
    monosema patch ioi --what heads --direction denoising
    monosema patch ioi --what latents --run runs/demo
    monosema patch ioi --path "a2.h7->m3->logits" --path "a2.h7->logits"
    monosema patch pairs.jsonl --model smollm2 --positions tokens --out patched
    ```

    Parameters
    ----------
    task
        ioi, greater_than, gender, truth, sentiment, weekdays, brackets; or a file of your own pairs: a JSON object a
        line, with clean, corrupt, correct and wrong.
    what
        residual, attention or mlps by position; heads, heads-by-position, queries, keys, values or patterns; neurons or
        latents, the largest by their gradient and measured; effects: total, direct and indirect, of each component;
        paths, those of --path.
    run
        A run folder, or a dictionary in any format, whose latents are exchanged; the model is the one that it is of.
    model
        A model in place of the run's own, or without a run. Without both: specimen.
    direction
        noising asks what is needed: clean prompts, one place corrupted. denoising asks what is enough.
    ablation
        What stands in, where places are noised: resample (the corrupted prompt), mean or zero.
    metric
        logit_difference, probability_difference or kl_divergence. Without it: the task's own.
    prompts
        Held-out prompts; of a file, at most so many.
    positions
        Columns by position: roles of words, or tokens, each one, where prompts are of one length.
    path
        The effect along one path alone, as in `a0.h1->a3.h5<q>->logits`. May be repeated.
    top
        Neurons or latents that are measured, with as many drawn at random beside them.
    memory_mb
        Megabytes that a pass may take beside the model; with less, fewer prompts run as one batch.
    out
        Folder for a page with the heat map, as Markdown and JSON too.
    """
    import torch

    from monosema.circuits import PatchConfig, pass_memory, patch_table
    from monosema.models import load_model
    from monosema.pages.patched import patch_page
    from monosema.runs.subject import open_subject

    try:
        config = PatchConfig(
            what="paths" if path else what,
            direction=direction,
            ablation=ablation,
            metric=metric,
            prompts=prompts,
            positions=positions,
            paths=path,
            top=top,
            seed=common.seed or 0,
        )
    except ConfigError as error:
        raise InputError(str(error).replace("PatchConfig.", "--")) from None
    subject = None if run is None else open_subject(run, model, device=common.device)
    named = model or (None if subject is None else subject.model.name) or "specimen"
    # Differences of passes are lost in fewer bits.
    opened = load_model(named, dtype=torch.float32, device=common.device)
    dictionary = None if subject is None or config.what != "latents" else (subject.dictionary, subject.site)
    with pass_memory(memory_mb), errors_console().status("") as status:
        found = patch_table(opened, task, config, dictionary, lambda line: status.update(Text(line, style="dim")))
    if out is not None:
        page = patch_page(found).write(out)
        errors_console().out(str(page.resolve()), style="dim")
    known = {"verdict": found.verdict, "accuracy": found.accuracy.to_dict(), "dropped": dict(found.contrasts.dropped)}
    values = {**known, **found.result.to_dict()}
    return deliver(values, common, lambda console: _show(found, subject, console))


def _show(found: PatchTable, subject: Subject | None, console: Console) -> None:
    from monosema.circuits import Ranked

    table, about = found.table, found.table.about
    head = (
        f": {found.accuracy.value:.0%} of {len(found.contrasts)} held-out prompts right; {about.metric} differs by "
        f"{float(table.gap.mean()):.3g} between clean and corrupted"
    )
    console.print(Text.assemble((found.contrasts.task, "bold"), translate(head)))
    for reason, number in found.contrasts.dropped.items():
        console.print(Text(translate(f"left out: {number}, {reason}"), style="dim"))
    said = f"{translate(table.direction)}, {about.ablation}, {about.seconds:.1f} s"
    console.print(Text(said, style="dim"))
    if isinstance(found.result, Ranked):
        console.print(_units(found.result, subject))
        if found.result.drawn > _DRAWN:
            sizes = table.shares[found.result.largest :][: found.result.drawn, 0].abs()
            median, most = (100 * float(size) for size in (sizes.quantile(0.5), sizes.max()))
            said = (
                f"At random: {_DRAWN} of {found.result.drawn} shown; the median of all is {median:.1f} % in size, the "
                f"largest {most:.1f} %; --json has all."
            )
            console.print(Text(translate(said), style="dim"))
        if (agrees := found.result.agreement) is not None:
            said = f"Estimates correlate with measurements by {agrees.pearson:.3f} over {agrees.n} units of "
            console.print(Text(translate(f"{said}{found.result.units:,}.")))
    elif len(table.columns) == 1 or table.what == "effects":
        console.print(_list(table, found.config.top))
    else:
        console.print(_heat(table))
    console.print(Text(translate(found.verdict)))
    if len(table.gap) < 6:
        few = "Signs of fewer than 6 prompts can't tell any effect from chance: give more prompts."
        console.print(Text(translate(few)))


def _heat(table: Patching) -> Table:
    """Return the shares in per cent, warm where positive, cold where negative, dim where not told from chance."""
    shares, apart = table.shares, table.told_apart
    largest = max(float(shares.abs().clamp(max=1).max()), 1e-6)
    shown = Table(box=None, padding=(0, 0), pad_edge=False)
    shown.add_column("%", justify="right")
    for name in table.columns:
        shown.add_column(Text(f" {name} "), justify="right", min_width=6)
    for row, name in enumerate(table.rows):
        cells = []
        for column in range(len(table.columns)):
            share = float(shares[row, column])
            size = min(abs(share), 1.0) / largest
            near = _WARM if share > 0 else _COLD
            red, green, blue = (round(255 + (part - 255) * 0.7 * size) for part in near)
            style = f"black on rgb({red},{green},{blue})" if size > 0.1 else ("" if apart[row, column] else "dim")
            marked = "bold " if apart[row, column] else ""
            cells.append(Text(f" {_plain(100 * share)} ", style=f"{marked}{style}".strip()))
        shown.add_row(Text(f"{name} "), *cells)
    return shown


def _list(table: Patching, top: int) -> Table:
    """Return the rows with the largest effects, with intervals."""
    from monosema.circuits.tables import percents

    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    shown.add_column("")
    for name in table.columns:
        shown.add_column(name, justify="right")
    apart = table.told_apart
    order = table.shares.abs().amax(1).argsort(descending=True, stable=True).tolist()
    for row in order if len(table.columns) == 1 else order[:top]:
        cells = [
            Text(percents(table.share(row, column)), style="" if apart[row, column] else "dim")
            for column in range(len(table.columns))
        ]
        shown.add_row(Text(table.rows[row]), *cells)
    return shown


def _units(ranked: Ranked, subject: Subject | None) -> Table:
    from monosema.circuits.tables import percents
    from monosema.pages.patched import kind_of

    table, apart = ranked.table, ranked.table.told_apart
    latents = [int(name) for name in table.rows if name.isdecimal()]
    labels = {} if subject is None else labels_of(subject, latents)
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("unit", "chosen", "measured", "estimated"):
        shown.add_column(name, justify="right" if name.endswith("ed") else "left", no_wrap=True)
    if labels:
        shown.add_column("label", overflow="fold")
    rows = range(ranked.largest + min(_DRAWN, ranked.drawn))
    for row in [*rows, *range(ranked.largest + ranked.drawn, len(table.rows))]:
        name = table.rows[row]
        cells = [percents(table.share(row, column)) for column in (0, 1)]
        label = [Text(labels.get(int(name)) or "–" if name.isdecimal() else "")] if labels else []
        style = "" if apart[row, 0] else "dim"
        shown.add_row(Text(translate(name)), translate(kind_of(ranked, row)), *cells, *label, style=style)
    return shown


def _plain(number: float) -> str:
    return f"{round(number)}"
