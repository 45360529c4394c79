"""prune: a smaller model of what matters most."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.core import InputError
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.circuits.pruning import PrunedPoint
    from monosema.models import Transformer


def prune(
    model: str = "specimen",
    /,
    *,
    unit: Literal["heads", "neurons", "layers"] = "neurons",
    remove: float | None = None,
    by: str = "gradient",
    text: str = "builtin",
    tokens: int = 4000,
    memory_mb: int = 512,
    out: Path | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Remove a model's least important heads, neurons or layers, and save the smaller model.

    Equally many go of each layer, so that the smaller model is one of the same family, which any library loads. Without
    --remove, a curve: the loss on held-out text by how much is removed, beside pruning by magnitude and by chance.

    ```
    monosema prune specimen --unit heads
    monosema prune specimen --unit neurons --remove 0.5 --out smaller
    ```

    Parameters
    ----------
    model
        `specimen`, the embedded model; `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub.
    unit
        What goes: heads, with the keys and values that they share; neurons of the MLPs; or whole layers.
    remove
        Share of them that goes, above 0 and below 1.
    by
        Importance: gradient (first-order change of the loss), effect (measured, a pass for each head or layer),
        magnitude or random.
    text
        A corpus: `builtin`, a file or folder of text, or `hf:NAME`. Importances are found on its training documents,
        losses on the held-out ones.
    tokens
        Tokens of each.
    memory_mb
        Megabytes that a pass may take beside the model; with less, fewer prompts run as one batch.
    out
        Folder for the smaller model, in Hugging Face's layout.
    """
    from monosema.circuits import pass_memory
    from monosema.circuits.pruning import importance_named
    from monosema.models import load_model, require_decoder

    importance_named(by)
    if remove is not None and not 0 < remove < 1:
        raise InputError(f"--remove {remove:g} is not valid: give a share above 0 and below 1, as in 0.25.")
    if out is not None and remove is None:
        raise InputError("--out saves a smaller model: say how much goes with --remove, as in 0.25.")
    opened = require_decoder(load_model(model, device=common.device, dtype="float32"))
    with pass_memory(memory_mb):
        if remove is None:
            return _curve(opened, unit, by, text, tokens, common)
        return _smaller(opened, unit, remove, by, text, tokens, out, common)


def _rows(model: Transformer, text: str, tokens: int) -> tuple[Any, Any]:
    from monosema.circuits.pruning import text_rows
    from monosema.data import open_corpus

    corpus = open_corpus(text)
    return text_rows(model, corpus, tokens, "train"), text_rows(model, corpus, tokens, "heldout")


def _smaller(
    model: Transformer, unit: Any, remove: float, by: str, text: str, tokens: int, out: Path | None, common: Common
) -> int:
    from monosema.circuits.pruning import pruned
    from monosema.models.saving import save_model

    fit, held_out = _rows(model, text, tokens)
    small, before, after = pruned(model, unit, remove, by, fit, held_out, common.seed or 0)
    if out is not None:
        save_model(small, out, model.folder)
    values = {"model": model.name, "unit": unit, "by": by, "whole": before.to_dict(), "smaller": after.to_dict()}

    def show(console: Console) -> None:
        console.print(_table([before, after]))
        if out is not None:
            console.print(Text(translate(f"The smaller model is in {out}.")))

    return deliver({**values, "out": None if out is None else str(out)}, common, show)


def _curve(model: Transformer, unit: Any, by: str, text: str, tokens: int, common: Common) -> int:
    from monosema.circuits.pruning import pruning_curve, verdict

    fit, held_out = _rows(model, text, tokens)
    names = list(dict.fromkeys([by, "magnitude", "random"]))
    points = list[Any]()
    with errors_console().status(translate("pruning")):
        points += pruning_curve(model, unit, names, fit, held_out, common.seed or 0)
    said = verdict(points, by)
    values = {"model": model.name, "unit": unit, "points": [one.to_dict() for one in points], "verdict": said}

    def show(console: Console) -> None:
        console.print(_table(points))
        console.print(Text(translate(said)))

    return deliver(values, common, show)


def _table(points: list[PrunedPoint]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("removed")
    table.add_column("by")
    for heading in ("parameters", "loss", "added"):
        table.add_column(heading, justify="right")
    before = -1
    for one in points:
        removed = "" if one.removed == before else f"{one.share:.0%}"
        before = one.removed
        added = "–" if not one.removed else f"+{one.added.value:.3f} [{one.added.low:.3f}, {one.added.high:.3f}]"
        loss = f"{one.loss.value:.3f} [{one.loss.low:.3f}, {one.loss.high:.3f}]"
        table.add_row(removed, Text(translate(one.importance)), f"{one.parameters / 1e6:.2f} M", loss, added)
    return table
