"""Tasks of one's own: pairs of prompts with their answers, one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from monosema.core.errors import InputError
from monosema.data.tasks.task import Prompt, Span, Task


class _Line(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    clean: str
    corrupt: str
    correct: str | list[str]
    wrong: str | list[str]
    form: str


_NEEDED = ("clean", "corrupt", "correct", "wrong")


def read_task(path: str | Path) -> Task:
    """Read a file of prompts: `{"clean": …, "corrupt": …, "correct": " Mary", "wrong": [" John"], "form": …}` a line.

    Answers are next tokens, the leading space included, one or a list of them; `form` may be left out.
    The metric is the difference of their logits.

    Raises:
        InputError: no file, no prompts, or a line of another form, with its number.
    """
    path, prompts = Path(path), list[Prompt]()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The prompts {path} can't be read ({error}). Give a .jsonl file in UTF-8.") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                prompts.append(_prompt(line))
            except (ValueError, InputError) as error:
                raise InputError(
                    f"Line {number} of {path} is no prompt: {_why(error)} Each line is a JSON object with clean, "
                    "corrupt, correct and wrong, and form where there are several."
                ) from None
    if not prompts:
        raise InputError(f"{path} holds no prompts.")
    return Task(name=path.stem, metric="logit_difference", split="test", prompts=tuple(prompts))


def _prompt(line: str) -> Prompt:
    row = TypeAdapter(_Line).validate_python(json.loads(line))
    missing = [name for name in _NEEDED if name not in row]
    if missing:
        raise ValueError(f"it has no {missing[0]!r}.")
    correct, wrong = (
        (answers,) if isinstance(answers, str) else tuple(answers) for answers in (row["correct"], row["wrong"])
    )
    text = row["clean"]
    last = text.rfind(" ") + 1
    spans = (Span(role="END", start=last, end=len(text)),) if last < len(text) else ()
    return Prompt(
        clean=text, corrupt=row["corrupt"], correct=correct, wrong=wrong, spans=spans, form=row.get("form", "")
    )


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON from character {error.pos + 1} on."
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"its {'.'.join(map(str, first['loc'])) or 'object'!r} is not valid ({first['msg']})."
    return str(error) if str(error).endswith(".") else f"{error}."
