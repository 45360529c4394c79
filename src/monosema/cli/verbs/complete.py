"""complete: let a model write on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, results_console
from monosema.core import InputError

if TYPE_CHECKING:
    from monosema.models import LanguageModel


def complete(
    prompt: str,
    /,
    *prompts: str,
    model: str = "specimen",
    tokens: Annotated[int, Parameter(help="Tokens to write at most.")] = 40,
    temperature: Annotated[
        float, Parameter(help="0 takes the likeliest token each time; higher is more varied.")
    ] = 0.0,
    top_k: Annotated[int | None, Parameter(help="Draw among so many likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, Parameter(help="Draw among the likeliest tokens that hold this probability.")
    ] = None,
    stream: Annotated[
        bool | None, Parameter(help="Show the text as it is written. Without it: where the output is a terminal.")
    ] = None,
    stop: Annotated[tuple[str, ...], Parameter(help="Texts at which to stop.")] = (),
    common: Common = DEFAULTS,
) -> int:
    """Let a model write on from a prompt, or from several.

    ```
    monosema complete "When Mary and John went to the store, John gave a drink to"
    monosema complete "The day after Monday is" --temperature 0.8 --seed 1
    ```

    Parameters
    ----------
    prompt
        The text to go on from.
    prompts
        Further prompts, written on side by side.
    model
        `specimen`, the embedded model; `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub.
    """
    from monosema.models import load_model

    loaded = load_model(model, device=common.device)
    settings: dict[str, Any] = {
        "max_new_tokens": tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "stop": stop,
        "seed": common.seed or 0,
    }
    alone = not prompts and not common.json
    if stream and not alone:
        raise InputError("--stream shows one text as it is written: leave out --json and further prompts.")
    if alone and (sys.stdout.isatty() if stream is None else stream):
        return _streamed(loaded, prompt, settings)
    written = loaded.generate([prompt, *prompts], **settings)
    completions = [
        {"prompt": one.prompt, "completion": one.text, "tokens": len(one.tokens), "finish": one.finish}
        for one in written
    ]

    def show(console: Console) -> None:
        for one in written:
            console.print(Text.assemble((one.prompt, "dim"), one.text))

    return deliver({"model": loaded.name, "completions": completions}, common, show)


def _streamed(model: LanguageModel, prompt: str, settings: Mapping[str, Any]) -> int:
    """Show a text as it is written; Ctrl-C ends it, and what is there stays. Returns the exit code."""
    console = results_console()
    console.print(Text(prompt, "dim"), end="")
    with contextlib.closing(model.stream(prompt, **settings)) as pieces:
        try:
            for piece in pieces:
                console.file.write(piece.text)
                console.file.flush()
        except KeyboardInterrupt:
            return 130
        finally:
            console.file.write("\n")
    return 0
