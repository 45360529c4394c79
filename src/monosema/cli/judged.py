"""The judgement of attribution methods, printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.asking import Asked, Played
from monosema.cli.common import Common, deliver, errors_console
from monosema.core import InputError
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.attribution import Judgement, Method
    from monosema.core import Estimate
    from monosema.models import LanguageModel


def judge_methods(
    model: LanguageModel,
    prompt: Sequence[str],
    asked: Asked,
    played: Played,
    methods: Sequence[Method],
    prompts: int,
    tests: str,
    common: Common,
) -> int:
    """Judge methods on a task's prompts and print the figures. Raises InputError without a task, and as `judge`."""
    from monosema.attribution import JudgeConfig, judge, task_pairs

    if prompt or asked.task is None or asked != Asked(task=asked.task):
        raise InputError("--judge asks the prompts of a task with the task's answers: give --task, and nothing else.")
    if prompts < 2:
        raise InputError(f"--prompts {prompts} is not valid: an interval needs 2 or more.")
    seed = common.seed or 0
    pairs, dropped = task_pairs(model, asked.task, prompts, seed)
    config = JudgeConfig(
        segments=played.players,
        removal=played.removal,
        tests=tuple(name.strip() for name in tests.split(",")),
        memory_mb=played.memory_mb,
        seed=seed,
    )
    with errors_console().status("") as status:
        found = judge(model, asked.task, pairs, methods, config, lambda line: status.update(Text(line, style="dim")))
    values = {"model": model.name, "dropped": dict(dropped), **found.to_dict()}
    return deliver(values, common, lambda console: _show(found, console))


def _show(found: Judgement, console: Console) -> None:
    from monosema.attribution import MEASURES

    said = f": {found.n} prompts; for an absent token stands, where methods explain: {found.removal}"
    console.print(Text.assemble((found.task, "bold"), translate(said)))
    for removal in found.methods[0].gains:
        console.print()
        console.print(Text(translate(f"better than random orders, tested with the removal {removal}:"), style="dim"))
        table = _table("method", *(_SHORT.get(name, name) for name in MEASURES), "[95 %]", "reversed")
        for one in found.methods:
            gains, back = one.gains[removal], one.reversed[removal]["aopc"]
            cells = [_value(gains[name]) for name in MEASURES]
            table.add_row(one.method, *cells, _interval(gains["aopc"]), _value(back))
        console.print(table)
    console.print(Text(translate("Figures that are dim are not told from random orders."), style="dim"))
    console.print()
    table = _table("method", "word in top 2", "[95 %]", "ρ, random", "gap ≤ 1 %", "seconds")
    for one in found.methods:
        right, ends = ("–", "") if one.found is None else (f"{one.found.value:.2f}", _interval(one.found))
        sanity, gap = (f"{figure.value:.2f}" if figure else "–" for figure in (one.sanity, one.gap))
        table.add_row(one.method, right, ends, sanity + ("*" if one.ignores_weights else ""), gap, f"{one.seconds:.2f}")
    table.add_row(Text(translate("at random"), style="dim"), Text(f"{found.chance:.2f}", style="dim"), "", "", "", "")
    console.print(table)
    console.print(Text(translate("Word: the one where clean and corrupted prompt differ."), style="dim"))
    if any(one.ignores_weights for one in found.methods):
        console.print(
            Text(translate("* ignores weights: its maps of a model with random weights are alike."), style="dim")
        )
    console.print()
    for name, value in found.between_removals.items():
        console.print(Text(translate(f"Ranking of methods by {name}: Kendall's τ {value:.2f}.")))
    for name, reason in found.left_out.items():
        console.print(Text.assemble((name, "bold"), "  ", (translate(reason), "dim")))


_SHORT = {"deletion": "del", "insertion": "ins", "comprehensiveness": "compr", "sufficiency": "suff"}
"""Measures as their columns are headed, so that a table fits 80 characters."""


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in names:
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=name == "method")
    return table


def _value(figure: Estimate) -> Text:
    """Return a difference to random orders; dim where its interval holds 0."""
    return Text(f"{figure.value:.2f}", style="dim" if figure.low <= 0 <= figure.high else "")


def _interval(figure: Estimate) -> str:
    return f"[{figure.low:.2f}, {figure.high:.2f}]"
