"""heads: the roles of attention heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.core import InputError
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.circuits.graph import Node
    from monosema.circuits.heads import HeadRoles
    from monosema.core import Estimate


def heads(model: str = "specimen", /, *, prompts: int = 32, common: Common = DEFAULTS) -> int:
    """Find the roles of a model's attention heads: where they look, and what they cause.

    Each head is scored as a previous-token, duplicate, induction, positional head and so on, on random tokens that come
    twice and on prompts of indirect object identification. A head has a role where its score lies above those of all
    heads of the same model with weights drawn anew, and, for roles of doing, where its effect along its path lies above
    0. Beside that stands what ablating it costs, and what ablating heads without a role does.

    ```
    monosema heads specimen
    monosema heads ./my-llama --prompts 50 --json
    ```

    Parameters
    ----------
    model
        `specimen`, the embedded model; `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub.
    prompts
        Texts of each kind. Intervals are over these.
    """
    from monosema.circuits.heads import head_roles
    from monosema.models import load_model

    if prompts < 2:
        raise InputError(f"--prompts {prompts} is not valid: an interval needs 2 or more.")
    opened = load_model(model, device=common.device, dtype="float32")
    with errors_console().status(translate("reading heads")):
        found = head_roles(opened, prompts, common.seed or 0)
    return deliver(found.to_dict(), common, lambda console: _show(found, console))


EFFECTS: Mapping[str, str] = {
    "repeated": "costs on the second block",
    "ioi": "costs on names",
    "straight": "straight to the logits",
    "queries": "through later queries",
}
"""Columns of effects, and their headings."""


def _show(found: HeadRoles, console: Console) -> None:
    effects: dict[str, Mapping[Node, Estimate]] = {**found.effects, **found.paths}
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("head", no_wrap=True)
    table.add_column("role", overflow="fold")
    for name, heading in EFFECTS.items():
        if name in effects:
            table.add_column(heading, justify="right")
    for head in found.heads:
        roles = found.roles(head)
        if not roles and not found.looks(head) and head not in found.others:
            continue
        cells = [_figure(figures.get(head)) for name in EFFECTS if (figures := effects.get(name)) is not None]
        table.add_row(head.name, Text(_role(found, head, roles)), *cells)
    console.print(table)
    console.print(Text(translate(ABOUT), style="dim"))
    console.print()
    console.print(_control(found))
    if found.texts.absent:
        console.print(Text(translate(f"No prompts with names: {found.texts.absent}")))


ABOUT = (
    "Costs: nats a token of a repeated block, and nats of logit difference between indirect object and subject, "
    "when the head is ablated; the two paths exchange its output for that on the corrupted prompt where it is read. "
    "(looks): it looks so, and has no effect along the role's path. none: drawn at random among heads without a role."
)


def _role(found: HeadRoles, head: Node, roles: list[str]) -> str:
    said = [f"{_spoken(name)} {found.estimate(name, head).value:.2f}" for name in roles]
    said += [f"({translate('looks')}) {_spoken(name)}" for name in found.looks(head) if name not in roles]
    return ", ".join(said) or translate("none")


def _spoken(name: str) -> str:
    return translate(name.replace("_", " "))


def _figure(figure: Estimate | None) -> str:
    return "–" if figure is None else f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def _control(found: HeadRoles) -> Table:
    """Return the table of scores: the best heads of each role beside the highest of the control."""
    from monosema.circuits.heads import HEAD_SCORES

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("role", "heads that have it", "highest score", "weights drawn anew", "meaning"):
        table.add_column(name, overflow="fold")
    for name in found.scores:
        having = [head.name for head in found.heads if name in found.roles(head)]
        (best,) = found.best(name, 1)
        table.add_row(
            Text(_spoken(name)),
            Text(", ".join(having) or "–"),
            f"{best.name} {_figure(found.estimate(name, best))}",
            f"{found.control[name]:.2f}",
            Text(translate(HEAD_SCORES[name].about), style="dim"),
        )
    return table
