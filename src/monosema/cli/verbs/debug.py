"""debug: which features made the model give a wrong answer, and what taking them out does besides."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.cli.printing import plain, slug
from monosema.cli.verbs.steer import labels_of
from monosema.core import InputError
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.circuits import Contrasts, Debugged, WrongAnswers
    from monosema.models import LanguageModel

_LISTED = 12


def debug(
    what: str,
    /,
    *,
    run: Path,
    right: str | None = None,
    wrong: str | None = None,
    model: str | None = None,
    prompts: int = 200,
    cases: int = 10,
    most: int = 20,
    out: Path | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Find the features that made an answer wrong, and flip it by taking them out.

    Active features are taken out one by one, those first that gradients accuse, then together until the right answer
    wins; what the dictionary does not explain stays. Beside them stand as many active features of equal size at random,
    and, of a task, the right answers that the same latents turn wrong.

    ```
    monosema debug truth --run runs/demo
    monosema debug "If it is not loud, it is quiet. This is" --right " true" --run runs/demo
    ```

    Parameters
    ----------
    what
        A task, whose held-out prompts are searched for wrong answers: ioi, greater_than, gender, truth, sentiment,
        weekdays, brackets; a file of your own pairs; or, with --right, a text.
    run
        A run folder, or a dictionary in any format, whose latents are taken out.
    right
        Of a text: the answer that should come next, one token, with its space in front.
    wrong
        Of a text: the answer that came. Without it: the likeliest other.
    model
        A model in place of the run's own.
    prompts
        Of a task: prompts that are searched.
    cases
        Of a task: wrong answers that are debugged at most, the surest first.
    most
        Features of an answer that are taken out at most.
    out
        Folder for a graph.json of each answer. With a run: its circuits/debug-….
    """
    import torch

    from monosema.circuits import debug as debug_text
    from monosema.circuits import debug_task, show_debugged
    from monosema.circuits.debugging import place_of
    from monosema.models import load_model, require_decoder
    from monosema.runs.subject import open_subject

    for flag, value in (("prompts", prompts), ("cases", cases), ("most", most)):
        if value < 1:
            raise InputError(f"--{flag} {value} is not valid: give 1 or more.")
    subject = open_subject(run, model, device=common.device)
    # Differences of passes are lost in fewer bits.
    opened = require_decoder(load_model(model or subject.model.name, dtype=torch.float32, device=common.device))
    seed, found = common.seed or 0, None
    with errors_console().status(translate("taking features out")):
        if right is None:
            asked = _prompts(what, opened, prompts, seed)
            found = debug_task(opened, subject.dictionary, asked, site=subject.site, most=most, cases=cases, seed=seed)
            answers = found.cases
        else:
            site = subject.site
            answers = (debug_text(opened, subject.dictionary, what, right, wrong, site=site, most=most, seed=seed),)
    labels = labels_of(subject, sorted({one.latent for case in answers for one in case.culprits}))
    place = out or (None if subject.run is None else run / "circuits")
    if place is not None:
        name = f"debug-{slug(Path(what).stem if right is None else what)}"
        for number, case in enumerate(answers, 1):
            folder = place / (name if len(answers) == 1 else f"{name}-{number}")
            about = {"prompt": case.text, "dictionaries": os.path.relpath(run, folder)}
            at = place_of(opened, subject.dictionary, subject.site)
            show_debugged(case, opened, at, labels, about).write(folder)
    values = {
        "model": opened.name,
        "site": subject.site.short,
        **({} if found is None else {"verdict": found.verdict, **plain(found), "latents": plain(found.latents)}),
        "cases": [{**plain(case), "verdict": case.verdict} for case in answers],
        "labels": {str(latent): label for latent, label in labels.items()},
    }
    return deliver(values, common, lambda console: _show(found, answers, labels, console))


def _prompts(task: str, model: LanguageModel, n: int, seed: int) -> Contrasts:
    """Return the held-out prompts of a task, or those of a file."""
    import random

    from monosema.circuits import contrasts
    from monosema.data.tasks import ALL_TASKS, read_task

    if task in ALL_TASKS:
        return contrasts(ALL_TASKS[task].prompts(random.Random(seed), n, "test"), model)
    if Path(task).suffix in (".jsonl", ".json"):
        return contrasts(read_task(task), model)
    raise InputError(
        f"{task!r} is no task. Tasks: {', '.join(ALL_TASKS)}; or a .jsonl file of your own pairs. For a text, say with "
        "--right which answer should come next."
    )


def _show(found: WrongAnswers | None, answers: Sequence[Debugged], labels: dict[int, str], console: Console) -> None:
    if found is not None:
        console.print(Text(translate(found.verdict)))
    for case in answers:
        if found is not None:
            console.print(Text(case.text, style="bold"))
        console.print(Text(translate(case.verdict)))
        if found is None:
            console.print(_culprits(case, labels))
            _show_cut(len(case.culprits), console)
    if found is not None:
        console.print(_frequent(found, labels))
        _show_cut(len(found.latents), console)


def _culprits(case: Debugged, labels: dict[int, str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("latent", "token", "strength", "predicted", "measured"):
        table.add_column(name, justify="left" if name == "token" else "right", no_wrap=True)
    table.add_column("flips")
    table.add_column("label", overflow="fold")
    for one in case.culprits[:_LISTED]:
        figures = (f"{one.activation:.2f}", f"{one.predicted:+.2f}", f"{one.measured:+.2f}")
        flips = translate("yes" if one.flips else "no")
        label = Text(labels.get(one.latent, "–"))
        table.add_row(str(one.latent), Text(f"{one.token!r} @{one.position}"), *figures, flips, label)
    return table


def _frequent(found: WrongAnswers, labels: dict[int, str]) -> Table:
    """Return the latents that were taken out in most cases."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("latent", justify="right")
    table.add_column("wrong answers", justify="right")
    table.add_column("flipped ones", justify="right")
    table.add_column("label", overflow="fold")
    flipped = sum(case.together is not None for case in found.cases)
    for one in found.latents[:_LISTED]:
        shares = (f"{one.cases} / {len(found.cases)}", f"{one.flipped} / {flipped}")
        table.add_row(str(one.latent), *shares, Text(labels.get(one.latent, "–")))
    return table


def _show_cut(n: int, console: Console) -> None:
    """Say how many of a table's rows are shown, where not all are."""
    if n > _LISTED:
        console.print(Text(translate(f"{_LISTED} of {n} shown; --json has all."), style="dim"))
