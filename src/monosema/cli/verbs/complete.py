"""complete: let a model write on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, results_console
from monosema.cli.writing import (
    AS_USUAL,
    NO_EDITS,
    UNCHANGED,
    Changes,
    Drawing,
    Edits,
    edited_line,
    show_side_by_side,
    show_stream,
    steering_block,
    written,
)
from monosema.core import InputError

if TYPE_CHECKING:
    from monosema.runs.subject import Subject

_TOKENS = 40


def complete(
    prompt: str,
    /,
    *prompts: str,
    model: str | None = None,
    drawing: Drawing = AS_USUAL,
    stream: Annotated[
        bool | None, Parameter(help="Show the text as it is written. Without it: where the output is a terminal.")
    ] = None,
    edits: Edits = NO_EDITS,
    changes: Changes = UNCHANGED,
    common: Common = DEFAULTS,
) -> int:
    """Let a model write on from a prompt, or from several.

    ```
    monosema complete "When Mary and John went to the store, John gave a drink to"
    monosema complete "The day after Monday is" --temperature 0.8 --seed 1
    monosema complete "The day after Monday is" --run runs/demo --steer 17=+1 --beside
    monosema complete "The day after Monday is" --run runs/demo --splice drop
    ```

    Parameters
    ----------
    prompt
        The text to go on from.
    prompts
        Further prompts, written on side by side.
    model
        `specimen`, the embedded model; `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub. Without
        it: that of --run, or specimen.
    """
    subject = changes.open(model, edits, common, "specimen")
    settings = drawing.settings(common, _TOKENS)
    given = [prompt, *prompts]
    alone = not prompts and not common.json and not changes.compares
    if stream and not alone:
        raise InputError(
            "--stream shows one text as it is written: leave out --json, --splice, --beside and more prompts."
        )
    if alone and (sys.stdout.isatty() if stream is None else stream):
        return _streamed(subject, edits, prompt, settings)
    if changes.compares:
        result = changes.compare(subject, edits, given, settings)
        return deliver(result.to_dict(), common, lambda console: show_side_by_side(result, subject.model, console))
    with steering_block(subject, edits) as held:
        texts = list(subject.model.generate(given, **settings))
        rows = list(held) or [None] * len(texts)
    completions = [
        {"prompt": one.prompt, "completion": one.text, "tokens": len(one.tokens), "finish": one.finish}
        | ({} if row is None else {"edited": row.to_dict()})
        for one, row in zip(texts, rows, strict=True)
    ]

    def show(console: Console) -> None:
        for one, row in zip(texts, rows, strict=True):
            console.print(Text.assemble((one.prompt, "dim"), written(subject.model, one, row)))
            if row is not None:
                console.print(Text(edited_line(row), style="dim"))

    return deliver({"model": subject.model.name, "completions": completions}, common, show)


def _streamed(subject: Subject, edits: Edits, prompt: str, settings: dict[str, Any]) -> int:
    console = results_console()
    with steering_block(subject, edits) as held:
        _, ended = show_stream(subject.model, prompt, settings, console, prompt)
        for row in held:
            if row is not None:
                console.print(Text(edited_line(row), style="dim"))
    return 130 if ended else 0
