"""circuit: the edges by which a model does a task, found by a method and judged beside chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.cli.feature_circuit import feature_circuit
from monosema.cli.printing import plain
from monosema.core import ConfigError, InputError
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.circuits import Curve, Found, Matrix, Verification
    from monosema.core import Estimate

_AREAS: Mapping[str, Callable[[Curve], Estimate]] = {
    "CMD, linear axis": lambda curve: curve.cmd(),
    "CMD, log axis": lambda curve: curve.cmd("log"),
    "CPR, linear axis": lambda curve: curve.cpr(),
    "CPR, log axis": lambda curve: curve.cpr("log"),
}
_ABLATED = {
    "matrix": "Share of each task that is lost without each circuit",
    "own": "Share that is lost without the edges that are in one circuit alone",
}
_NOTES = (
    "worst 10 %: prompts keep less than this one time in ten, in units of the whole model's mean over prompts, so that "
    "all edges need not make it 1.",
    "CMD: mean of |1 − f| over the share of edges, 0 is best; CPR: mean of f.",
)
_LISTED = 12
"""Nodes of a circuit's table."""


def circuit(
    *tasks: str,
    latents: Path | None = None,
    run: Path | None = None,
    model: str | None = None,
    method: str = "eap-ig-masks",
    ablation: str = "resample",
    metric: str | None = None,
    prompts: int = 40,
    edges: int | None = None,
    ranking: str = "size",
    checked: int = 128,
    verify: int = 0,
    threshold: float = 0.9,
    tests: str = "curve,completeness,minimality,stability",
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    memory_mb: int = 512,
    out: Path | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Find the edges by which a model does a task, and judge them: alone, without them, and beside random ones.

    Edges are scored on some prompts; the circuit is the smallest found that does the task there, and is judged on
    other, held-out prompts. With several tasks, each one's circuit is ablated and all are measured.

    ```
    monosema circuit ioi
    monosema circuit ioi --run runs/demo --ranking sign
    monosema circuit ioi --method eap --verify 20
    monosema circuit ioi gender brackets
    monosema circuit pairs.jsonl --model smollm2 --prompts 16 --tests curve
    monosema circuit ioi --from circuits/ioi/circuit.json
    monosema circuit gender --latents transcoders
    ```

    Parameters
    ----------
    tasks
        ioi, greater_than, gender, truth, sentiment, weekdays, brackets; or a file of your own pairs: a JSON object a
        line, with clean, corrupt, correct and wrong.
    latents
        Nodes are the latents of these dictionaries and what they leave out, in place of edges between components: a
        run, a dictionary, or a folder of them. --prompts, --metric, --threshold and --seed count here.
    run
        A run folder, whose model is taken and whose report shows the circuit.
    model
        A model in place of the run's own, or without a run. Without both: specimen.
    method
        How edges are scored: eap, eap-ig-inputs, eap-ig-activations, eap-ig-masks, atp-star, relp, acdc, exact,
        random.
    ablation
        What stands in for what is left out: resample (the corrupted prompt), mean, zero, or optimal (fitted constants).
    metric
        logit_difference, probability_difference or kl_divergence. Without it: the task's own.
    prompts
        Prompts to find the circuit on, and as many others to judge it on; of a file, half and half.
    edges
        Edges of the circuit. Without it: the smallest found whose faithfulness reaches --threshold.
    ranking
        size takes edges by their absolute score, sign those that help first.
    checked
        Edges, drawn at random, that are exchanged alone, to print how well the method's scores agree with exact ones.
    verify
        Exchange so many edges alone, those that the method ranks first, and print what each really does.
    threshold
        Faithfulness that the circuit must reach on the prompts it is found on.
    tests
        Which tests to make beside faithfulness: curve, completeness, minimality, stability; or none.
    from_
        Judge the circuit of this file or folder: a JSON object with the names of its edges, or of its nodes.
    memory_mb
        Megabytes that a pass may take beside the model; with less, fewer prompts run as one batch.
    out
        Folder for circuit.json, circuit.dot, scores.safetensors and graph.json. With --run: its circuits/TASK.
    """
    import torch

    from monosema.circuits import FindConfig, find, own_edges, pass_memory, specificity
    from monosema.models import load_model, require_decoder
    from monosema.runs import Run

    if not tasks:
        raise InputError("Say which task: monosema circuit ioi.")
    if from_ is not None and len(tasks) > 1:
        raise InputError("--from judges one circuit: give one task.")
    if latents is not None and (len(tasks) > 1 or from_ is not None):
        raise InputError("--latents finds one task's circuit of features: give one task, without --from.")
    try:
        config = FindConfig(
            method=method,
            ablation=ablation,
            metric=metric,
            prompts=prompts,
            edges=edges,
            ranking=ranking,
            checked=checked,
            verify=verify,
            threshold=threshold,
            tests=() if tests == "none" else tuple(tests.split(",")),
            seed=common.seed or 0,
        )
    except ConfigError as error:
        raise InputError(str(error).replace("FindConfig.", "--")) from None
    console = errors_console()

    def said(line: str) -> None:
        console.out(line, style="dim")

    named = model or (Run.open(run).recipe.model.name if run is not None else "specimen")
    # Differences of passes are lost in fewer bits.
    opened = require_decoder(load_model(named, dtype=torch.float32, device=common.device))
    if latents is not None:
        place = out or (run and run / "circuits" / f"{Path(tasks[0]).stem}-features")
        with pass_memory(memory_mb):
            return feature_circuit(opened, tasks[0], latents, config, said, place, common)
    with pass_memory(memory_mb):
        found: dict[str, Found] = {}
        for task in tasks:
            one = find(opened, task, config, from_, said)
            name = one.contrasts.task
            found[name] = one
            place = (out if len(tasks) == 1 else out / name) if out is not None else run and run / "circuits" / name
            if place is not None:
                one.write(place)
        matrices: dict[str, Matrix] = {}
        if len(found) > 1:
            trials = {name: one.judgement.trial for name, one in found.items()}
            whole = {name: one.judgement.circuit for name, one in found.items()}
            for name, circuits in (("matrix", whole), ("own", own_edges(whole))):
                said("each circuit ablated, all tasks measured")
                matrices[name] = specificity(trials, circuits, config.seed)
    values = {
        "model": opened.name,
        "circuits": [one.to_dict() for one in found.values()],
        **{name: {**plain(one), "verdict": one.verdict} for name, one in matrices.items()},
    }

    def show(console: Console) -> None:
        for one in found.values():
            _show(one, console)
        for name, matrix in matrices.items():
            _show_matrix(matrix, _ABLATED[name], console)

    return deliver(values, common, show)


def _show(found: Found, console: Console) -> None:
    """Print the curve, the areas, the nodes and the sentences of one circuit."""
    judged, about = found.judgement, None if found.scores is None else found.scores.about
    trial = judged.trial
    console.print(
        Text.assemble(
            (found.contrasts.task, "bold"),
            translate(
                f": {found.accuracy.value:.0%} of {len(found.contrasts)} held-out prompts right; {trial.metric.name} "
                f"{float(trial.whole.mean()):.3g}, with all edges exchanged {float(trial.empty.mean()):.3g}"
            ),
        )
    )
    if about is not None:
        console.print(Text(translate(f"{about.method} on {about.n} other prompts, {about.seconds:.1f} s"), style="dim"))
    for reason, n in found.contrasts.dropped.items():
        console.print(Text(translate(f"left out: {n}, since {reason}"), style="dim"))
    for sentence in found.sentences:
        console.print(Text(translate(sentence), style="red" if "UNSTABLE" in sentence else ""))
    if judged.chance is not None:
        console.print(_curve(found))
        console.print(_areas(found))
        for note in _NOTES:
            console.print(Text(translate(note), style="dim"))
    if judged.minimality:
        console.print(_nodes(found))
    if found.verification is not None and found.verification.first:
        console.print(_verified(found.verification))
    console.print()


def _curve(found: Found) -> Table:
    from monosema.circuits import say

    judged = found.judgement
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("edges", "share", "f, by size", "worst 10 %", "f, by sign", "f, random"):
        table.add_column(name, justify="right", no_wrap=True)
    by_size, by_sign, chance = judged.curves["size"], judged.curves["sign"], judged.chance
    assert chance is not None
    rows = zip(
        by_size.sizes, by_size.faithfulness, by_size.quantiles(), by_sign.faithfulness, chance.faithfulness, strict=True
    )
    total = judged.circuit.graph.n_edges
    for size, f, (low, _, _), signed, drawn in rows:
        cells = (say(f), _plain(low), say(signed), _plain(drawn.value))
        table.add_row(f"{size:,}", f"{size / total:.1%}", *cells)
    return table


def _areas(found: Found) -> Table:
    from monosema.circuits import say

    judged = found.judgement
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("area", "by size", "by sign", "random"):
        table.add_column(name, justify="left" if name == "area" else "right", no_wrap=True)
    curves = (judged.curves["size"], judged.curves["sign"], judged.chance)
    for name, areas in _AREAS.items():
        table.add_row(translate(name), *(say(areas(one)) for one in curves if one is not None))
    return table


def _nodes(found: Found) -> Table:
    from monosema.circuits import say

    tests = found.judgement.minimality or []
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("node", "lost in the circuit", "lost in the model"):
        table.add_column(name, justify="left" if name == "node" else "right", no_wrap=True)
    for test in tests[:_LISTED]:
        table.add_row(test.node.name, say(test.inside), say(test.whole))
    return table


def _verified(verification: Verification) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("edge", "estimated", "exchanged alone"):
        table.add_column(name, justify="left" if name == "edge" else "right", no_wrap=True)
    for one in verification.first:
        style = "" if one.confirmed else "dim"
        table.add_row(one.name, f"{one.estimated:.3f}", f"{one.exact}", style=style)
    return table


def _show_matrix(matrix: Matrix, about: str, console: Console) -> None:
    """Print which share of each task an ablated circuit costs, and the verdict."""
    from monosema.circuits import say

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("circuit ablated")
    table.add_column("edges", justify="right")
    for name in matrix.tasks:
        table.add_column(name, justify="right")
    for name in matrix.tasks:
        cells = [say(matrix.lost[name][other]) for other in matrix.tasks]
        table.add_row(name, f"{matrix.sizes[name]:,}", *cells)
        chance = [_plain(matrix.random[name][other].value) for other in matrix.tasks]
        table.add_row(Text(translate("random"), style="dim"), "", *chance, style="dim")
    console.print(Text(translate(about)))
    console.print(table)
    console.print(Text(translate(matrix.verdict)))


def _plain(share: float) -> str:
    return f"{round(share, 2) + 0.0:.2f}"
