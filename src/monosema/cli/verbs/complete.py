"""complete: let a model write on."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver


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
    written = loaded.generate(
        [prompt, *prompts],
        max_new_tokens=tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=stop,
        seed=common.seed or 0,
    )
    completions = [
        {"prompt": one.prompt, "completion": one.text, "tokens": len(one.tokens), "finish": one.finish}
        for one in written
    ]

    def show(console: Console) -> None:
        for one in written:
            console.print(Text.assemble((one.prompt, "dim"), one.text))

    return deliver({"model": loaded.name, "completions": completions}, common, show)
