"""complete: let a model write on."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, results_console
from monosema.cli.writing import AS_USUAL, UNCHANGED, Changes, Drawing, show_side_by_side, show_stream
from monosema.core import InputError

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
    changes: Changes = UNCHANGED,
    common: Common = DEFAULTS,
) -> int:
    """Let a model write on from a prompt, or from several.

    ```
    monosema complete "When Mary and John went to the store, John gave a drink to"
    monosema complete "The day after Monday is" --temperature 0.8 --seed 1
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
    subject = changes.open(model, common, "specimen")
    settings = drawing.settings(common, _TOKENS)
    alone = not prompts and not common.json and not changes.beside
    if stream and not alone:
        raise InputError("--stream shows one text as it is written: leave out --json, --splice and further prompts.")
    if alone and (sys.stdout.isatty() if stream is None else stream):
        console = results_console()
        console.print(Text(prompt, "dim"), end="")
        _, ended = show_stream(subject.model, prompt, settings, console)
        return 130 if ended else 0
    if changes.beside:
        result = changes.compare(subject, [prompt, *prompts], settings)
        return deliver(result.to_dict(), common, lambda console: show_side_by_side(result, console))
    written = subject.model.generate([prompt, *prompts], **settings)
    completions = [
        {"prompt": one.prompt, "completion": one.text, "tokens": len(one.tokens), "finish": one.finish}
        for one in written
    ]

    def show(console: Console) -> None:
        for one in written:
            console.print(Text.assemble((one.prompt, "dim"), one.text))

    return deliver({"model": subject.model.name, "completions": completions}, common, show)
