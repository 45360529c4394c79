"""chat: talk with a model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

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
    require_template,
    show_side_by_side,
    show_stream,
    steering_block,
)
from monosema.core import InputError
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.runs.subject import Subject
    from monosema.steering import SteeredRow

_TOKENS = 200


def chat(
    *messages: str,
    model: str | None = None,
    system: str | None = None,
    drawing: Drawing = AS_USUAL,
    edits: Edits = NO_EDITS,
    changes: Changes = UNCHANGED,
    common: Common = DEFAULTS,
) -> int:
    """Talk with a model: give messages, or none and type them one by one.

    In a terminal answers appear as they are written; Ctrl-C ends an answer and keeps the conversation, Ctrl-D ends the
    conversation. Beside the untouched model, all versions answer the same conversation: it goes on with the untouched
    answer.

    ```
    monosema chat
    monosema chat "What is the capital of France?" "And of Spain?" --system "Answer in one word."
    monosema chat "Tell me about dogs." --run runs/smollm2 --steer 17=+0.5 --beside
    monosema chat "Tell me about dogs." --run runs/smollm2 --splice drop
    ```

    Parameters
    ----------
    messages
        What you say, one message after the other; each is answered before the next.
    model
        `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub, of a model that has a chat template.
        Without it: that of --run, or smollm2.
    system
        A message before all others that says how the model is to behave.
    """
    if common.json and not messages:
        raise InputError("--json needs the messages: monosema chat MESSAGE… --json.")
    subject = changes.open(model, edits, common, "smollm2")
    require_template(subject.model)
    if edits.given:
        edits.open(subject)  # what is wrong in them is said before anything is typed
    said = [] if system is None else [{"role": "system", "content": system}]
    settings = drawing.settings(common, _TOKENS)
    if changes.compares:
        return _compared(subject, messages, said, changes, edits, settings, common)
    if not messages:
        return _talk(subject, said, edits, settings)
    edited: list[SteeredRow | None] = []
    for message in messages:
        said.append({"role": "user", "content": message})
        with steering_block(subject, edits) as held:
            said.append({"role": "assistant", "content": subject.model.generate(said, **settings).text})
        edited += held

    def show(console: Console) -> None:
        for one in said:
            console.print(Text.assemble((f"{translate(one['role'])}: ", "bold"), one["content"]))
        for row in edited[-1:]:
            if row is not None:
                console.print(Text(edited_line(row), style="dim"))

    values = {"edited": [{} if row is None else row.to_dict() for row in edited]} if edited else {}
    return deliver({"model": subject.model.name, "messages": said, **values}, common, show)


def _talk(subject: Subject, said: list[dict[str, str]], edits: Edits, settings: dict[str, Any]) -> int:
    """Answer each line that is typed, until the input ends."""
    console = results_console()
    for line in _lines(console):
        said.append({"role": "user", "content": line})
        with steering_block(subject, edits):
            answer, _ = show_stream(subject.model, said, settings, console)
        said.append({"role": "assistant", "content": answer})
    return 0


def _lines(console: Console) -> Iterator[str]:
    """Yield the lines that are typed, or come from a pipe; Ctrl-C at the prompt ends as Ctrl-D does."""
    while True:
        try:
            line = input("> ") if sys.stdin.isatty() else input()
        except (EOFError, KeyboardInterrupt):
            if sys.stdin.isatty():
                console.file.write("\n")
            return
        if line.strip():
            yield line.strip()


def _compared(
    subject: Subject,
    messages: tuple[str, ...],
    said: list[dict[str, str]],
    changes: Changes,
    edits: Edits,
    settings: dict[str, Any],
    common: Common,
) -> int:
    """Answer the same conversation in all versions."""
    if not messages:
        console = results_console()
        for line in _lines(console):
            said.append({"role": "user", "content": line})
            result = changes.compare(subject, edits, [said], settings)
            show_side_by_side(result, subject.model, console)
            said.append({"role": "assistant", "content": result.rows[0].texts[0].text})
        return 0
    prompts = []
    for message in messages:
        said.append({"role": "user", "content": message})
        prompts.append(list(said))
        if len(prompts) < len(messages):
            said.append({"role": "assistant", "content": subject.model.generate(said, **settings).text})
    result = changes.compare(subject, edits, prompts, settings)
    return deliver(result.to_dict(), common, lambda console: show_side_by_side(result, subject.model, console))
