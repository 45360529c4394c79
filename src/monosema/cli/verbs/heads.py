"""heads: the roles of attention heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.core import InputError
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.circuits.heads import Distinct, HeadRoles, SelfRepair
    from monosema.core import Estimate
    from monosema.models import LanguageModel
    from monosema.runs.subject import Subject


def heads(
    model: str | None = None,
    /,
    *,
    study: Literal["roles", "distinct", "repair", "context"] = "roles",
    prompts: int = 32,
    run: Path | None = None,
    memory_mb: int = 512,
    common: Common = DEFAULTS,
) -> int:
    """Find the roles of a model's attention heads: where they look, and what they cause.

    Each head is scored as a previous-token, duplicate, induction, positional head and so on, on random tokens that come
    twice and on prompts of indirect object identification. A head has a role where its score lies above those of all
    heads of the same model with weights drawn anew, and, for roles of doing, where its effect along its path lies above
    0. Beside that stands what ablating it costs, and what ablating heads without a role does.

    ```
    monosema heads specimen
    monosema heads specimen --study distinct --prompts 12
    monosema heads ./my-llama --study repair --prompts 64 --json
    monosema heads --study context --run runs/demo
    ```

    Parameters
    ----------
    model
        `specimen`, the embedded model; `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub.
        Without it: that of --run, or specimen.
    study
        roles; distinct, over how many skills the costs of ablating a head, or a layer, are spread; repair, what
        ablating the heads that answer takes one by one and together; context, which heads, and latents, make later
        tokens of a text easier than early ones.
    prompts
        Texts of each kind. Intervals are over these.
    run
        Of context: a run folder, or a dictionary in any format, whose latents are ablated too.
    memory_mb
        Megabytes that a pass may take beside the model; with less, fewer prompts run as one batch.
    """
    from monosema.circuits import pass_memory
    from monosema.models import load_model
    from monosema.runs.subject import open_subject

    if prompts < 2:
        raise InputError(f"--prompts {prompts} is not valid: an interval needs 2 or more.")
    if run is not None and study != "context":
        raise InputError(f"--run is of --study context; {study} looks at heads alone.")
    subject = None if run is None else open_subject(run, model, device=common.device)
    named = model or (None if subject is None else subject.model.name) or "specimen"
    opened = load_model(named, device=common.device, dtype="float32")
    with pass_memory(memory_mb), errors_console().status(translate("reading heads")):
        if study == "context":
            return _context(opened, prompts, common, subject)
        return _STUDIES[study](opened, prompts, common)


def _roles(model: LanguageModel, prompts: int, common: Common) -> int:
    from monosema.circuits.heads import head_roles

    found = head_roles(model, prompts, common.seed or 0)
    return deliver(found.to_dict(), common, lambda console: _show(found, console))


def _distinct(model: LanguageModel, prompts: int, common: Common) -> int:
    from monosema.circuits.heads import distinct_roles

    both = distinct_roles(model, prompts, common.seed or 0)
    return deliver({one.unit: one.to_dict() for one in both}, common, lambda console: _show_distinct(both, console))


def _repair(model: LanguageModel, prompts: int, common: Common) -> int:
    from monosema.circuits.heads import head_texts, self_repair
    from monosema.models import require_decoder

    texts = head_texts(require_decoder(model), prompts, common.seed or 0)
    if texts.ioi is None:
        raise InputError(f"Self-repair is measured on prompts with names. {texts.absent}")
    found = self_repair(model, texts.ioi, seed=common.seed or 0)
    return deliver(found.to_dict(), common, lambda console: _show_repair(found, console))


def _context(model: LanguageModel, prompts: int, common: Common, subject: Subject | None) -> int:
    import torch

    from monosema.circuits.heads import context_latents, context_learning
    from monosema.circuits.pruning import text_rows
    from monosema.data import open_corpus

    window, seed = min(model.context, 512), common.seed or 0
    rows = torch.cat(text_rows(model, open_corpus("builtin"), prompts * window, "heldout", window))[:prompts]
    both = [context_learning(model, rows, seed=seed)]
    if subject is not None:
        both.append(context_latents(model, subject.dictionary, subject.site, rows, seed=seed))

    def show(console: Console) -> None:
        for found in both:
            table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
            table.add_column(translate(found.unit))
            table.add_column(translate("adds to the difference"), justify="right")
            for name, group in found.groups.items():
                for part, effect in group.parts.items():
                    table.add_row(f"{part} ({translate(name)})", _fine(effect))
                table.add_row(translate(f"{group.size} together ({translate(name)})"), _fine(group.together))
            console.print(table)
            console.print(Text(translate(found.sentence)))

    return deliver({found.unit: found.to_dict() for found in both}, common, show)


def _fine(figure: Estimate) -> str:
    value, low, high = (f"{round(one, 3) + 0.0:.3f}" for one in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"


_STUDIES: Mapping[str, Callable[[LanguageModel, int, Common], int]] = {
    "roles": _roles,
    "distinct": _distinct,
    "repair": _repair,
}


ABOUT = (
    "Costs of ablating a head: nats a token of the second of two equal blocks (others' mean in its place), and nats of "
    "logit difference between indirect object and subject (its output on other names in its place). acts: what it does "
    "along its role's path alone, in nats of logit difference; straight is to the logits, queries is through all later "
    "queries. A head that looks so has the role where it does so (✓), and not where it only looks (–)."
)


def _show(found: HeadRoles, console: Console) -> None:
    from monosema.circuits.heads import HEAD_SCORES, PER_ROLE

    for name in found.scores:
        score, looking = HEAD_SCORES[name], found.looking(name)
        console.print(Text.assemble((_spoken(name), "bold"), f": {translate(score.about)}"))
        said = (
            f"{len(looking)} of {len(found.heads)} heads look so; weights drawn anew: at most {found.control[name]:.2f}"
        )
        console.print(Text(translate(said), style="dim"))
        if len(looking) > PER_ROLE:
            console.print(Text(translate(f"the {PER_ROLE} with the highest scores:"), style="dim"))
        if looking:
            # The other kind of text has no place beside an effect along a path.
            costs = [kind for kind in found.effects if score.acts is None or kind == score.text]
            table = _table(costs, score.acts)
            for head in looking[:PER_ROLE]:
                cells = [_figure(found.estimate(name, head)), *(_figure(found.effects[kind][head]) for kind in costs)]
                if score.acts is not None:
                    cells += [_figure(found.paths[score.acts][head]), "✓" if name in found.roles(head) else "–"]
                table.add_row(head.name, *cells)
            console.print(table)
    if found.others:
        console.print(
            Text.assemble((translate("none"), "bold"), f": {translate('heads that look like no role, at random')}")
        )
        table = _table(found.effects, None)
        for head in found.others:
            table.add_row(head.name, "–", *(_figure(figures[head]) for figures in found.effects.values()))
        console.print(table)
    console.print(Text(translate(ABOUT), style="dim"))
    if found.texts.absent:
        console.print(Text(translate(f"No prompts with names: {found.texts.absent}")))


COSTS: Mapping[str, str] = {"repeated": "costs, block", "ioi": "costs, names"}
"""Headings of what ablation costs, by the kind of text."""
ACTS: Mapping[str, str] = {"straight": "acts, straight", "queries": "acts, queries"}
"""Headings of what heads do along a path."""


def _table(costs: Iterable[str], acts: str | None) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("head", no_wrap=True, min_width=7)
    for heading in ("score", *(COSTS[kind] for kind in costs), *(() if acts is None else (ACTS[acts],))):
        table.add_column(heading, justify="right", no_wrap=True, min_width=17)
    if acts is not None:
        table.add_column("role", justify="center")
    return table


def _spoken(name: str) -> str:
    return translate(name.replace("_", " "))


def _figure(figure: Estimate | None) -> str:
    if figure is None:
        return "–"
    value, low, high = (f"{round(one, 2) + 0.0:.2f}" for one in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"


_SHOWN = 12


def _show_distinct(both: Sequence[Distinct], console: Console) -> None:
    """Print the sentences, and the shares that each layer, and the heads that cost most, take of each task."""
    for one in both:
        order = abs(one.costs).sum(1).argsort()[::-1][:_SHOWN]
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(one.unit)
        for task in one.tasks:
            table.add_column(task, justify="right")
        for row in sorted(order.tolist()):
            table.add_row(one.parts[row], *(f"{cost:.0%}" for cost in one.costs[row]))
        console.print(table)
        console.print(Text(translate(one.sentence)))
        if one.agreement is not None:
            said = f"Gradient estimates of these costs: Pearson {one.agreement.pearson:.2f} over {one.agreement.n}."
            console.print(Text(translate(said), style="dim"))
        for task, why in one.absent.items():
            console.print(Text(f"{task}: {why}", style="dim"))


def _show_repair(found: SelfRepair, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("head", "costs, alone", "acts, straight"):
        table.add_column(heading, justify="left" if heading == "head" else "right")
    for head, single, straight in zip(found.heads, found.single, found.straight, strict=True):
        table.add_row(head.name, _figure(single), _figure(straight))
    table.add_row(translate("together"), _figure(found.joint), "")
    table.add_row(translate("as many at random"), _figure(found.random_joint), "")
    table.add_row(translate("untouched model"), _figure(found.clean), "")
    console.print(table)
    console.print(Text(translate(found.sentence)))
