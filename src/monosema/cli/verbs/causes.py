"""causes: what features do to the model's predictions, beside others drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.cli.printing import number
from monosema.core import InputError
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.atlas import Atlas
    from monosema.interpretation.causes import JudgedCauses

FIGURES: Mapping[str, str] = {
    "input": "input score",
    "output": "output score",
    "confidence": "Δ confidence",
    "loss": "loss without it",
    "kl": "KL without it",
}
"""Figures and their names in the table."""
MEANING = (
    "Input score: share of its strongest passages whose peak is a token that it promotes. "
    "Output score and Δ confidence: what the model expects after a neutral beginning when the feature is amplified. "
    "Loss and KL: in nats a token, where it fires, when it is taken out. "
    "Others: the middle of 8 features drawn at random; smaller: of how many it is above."
)


def causes(run: Path, *features: int, first: int = 0, common: Common = DEFAULTS) -> int:
    """Measure what features do: input score, output score, and what the model loses when they are taken out.

    Beside each figure stands that of other features drawn at random, and of a random direction as long. What is
    measured is kept in the run, where the app shows it, and `monosema report` too once it is made again.

    ```
    monosema causes runs/demo 17 23
    monosema causes runs/demo --first 50
    ```

    Parameters
    ----------
    run
        A run folder with an atlas.
    features
        Numbers of features.
    first
        So many more: those whose labels stand the highest above their controls.
    """
    from monosema.interpretation.causes import CauseFinder
    from monosema.models import load_model
    from monosema.runs import Run
    from monosema.runs.context import open_model

    opened = Run.open(run)
    recipe, atlas = opened.recipe, opened.atlas()
    if recipe.of_items:
        raise InputError("This run is of items: there is no model whose predictions a feature could change.")
    if first < 0:
        raise InputError(f"--first {first} is not valid: give a number of features, 1 or more.")
    if not (features or first):
        raise InputError("Say which features: monosema causes RUN 17, or --first 20.")
    listed = atlas.features(sort="label_margin", limit=first) if first else []
    wanted = [*dict.fromkeys([*features, *(row["latent"] for row in listed)])]
    model = (
        open_model(recipe, common.device)
        if recipe.other_model
        else load_model(recipe.model.name, dtype="float32", device=common.device)
    )
    finder = CauseFinder(atlas, model, opened.dictionary())
    with errors_console().status(translate("measuring causes")):
        found = [finder.judged(latent) for latent in wanted]
    values = {"run": str(run), "features": [one.to_dict() for one in found]}
    return deliver(values, common, lambda console: _show(found, atlas, console))


def _show(found: list[JudgedCauses], atlas: Atlas, console: Console) -> None:
    """Print a table for each feature, and what its figures mean below the last."""
    for judged in found:
        own = judged.own
        label = atlas.feature(own.latent).label or translate("no label")
        console.print(Text.assemble((str(own.latent), "bold"), f"  {label}"))
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for name in ("", "feature", "others", "smaller"):
            table.add_column(name, justify="right" if name else "left", no_wrap=True)
        for name, said in FIGURES.items():
            if name not in own.figures:
                table.add_row(translate(said), "–", "–", "–")
                continue
            figure, control, random = own.figures[name], judged.control(name), own.figures.get(f"random_{name}")
            middle = number(control[len(control) // 2]) if control else "–"
            value = number(figure.value) if figure.n == 1 else str(figure)
            table.add_row(translate(said), value, middle, f"{judged.above(name)} / {len(control)}")
            if random is not None:
                table.add_row(Text(f"  {translate('random direction')}", style="dim"), str(random), "", "")
        console.print(table)
        for said, tokens in (("raises", own.raised), ("lowers", own.lowered)):
            words = "  ".join(f"{text!r} {value:+.1%}" for text, value in tokens[:5])
            if words:
                console.print(Text(f"{translate(said)}: {words}"))
        for name, why in own.absent.items():
            console.print(Text(f"{translate(FIGURES[name])}: {translate(why)}", style="dim"))
        console.print(Text(translate(f"taken out on {own.tokens} tokens of {own.passages} passages"), style="dim"))
        console.print()
    console.print(Text(translate(MEANING), style="dim"))
