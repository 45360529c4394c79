"""Help in the user's language: what cyclopts lays out, translated on its way to the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from attrs import evolve
from cyclopts.help import DefaultFormatter, HelpPanel
from cyclopts.help.inline_text import InlineText
from rich.console import Console, ConsoleOptions
from rich.markdown import Markdown
from rich.text import Text

from monosema.core.language import ENGLISH, language, translate

_FENCE = re.compile(r"(```.*?```)", re.DOTALL)
_USAGE = re.compile(r"(?P<before>.*monosema (?P<verb>[\w-]+) .*)(?P<args>\[ARGS(\.\.\.)?\])\n")
_REMARK = re.compile(r"(?<=\S)(?P<gap> {3,}|  +# )(?P<text>.+)$", re.MULTILINE)


@dataclass
class TranslatedFormatter:
    """Cyclopts' own layout, with every text translated; English passes as it is."""

    layout: DefaultFormatter = field(default_factory=DefaultFormatter)
    optional: dict[str, str] = field(default_factory=dict)
    """By verb, the names of words that may be left out; cyclopts calls all of them ARGS."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Render a panel of commands or parameters."""
        if language() != ENGLISH:
            entries = [evolve(entry, description=_translated(entry.description)) for entry in panel.entries]
            panel = panel.copy(title=_translated(panel.title), entries=entries)
        self.layout(console, options, panel)

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Render the line of usage."""
        if isinstance(usage, Text) and (found := _USAGE.fullmatch(usage.plain)):
            usage = Text(found["before"] + self.optional.get(found["verb"], found["args"]) + "\n", style=usage.style)
        self.layout.render_usage(console, options, usage)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Render a verb's own help."""
        shown = description if language() == ENGLISH else _translated(description)
        self.layout.render_description(console, options, shown)


def optional_words(function: Callable[..., Any]) -> str:
    """Return the words of a command that may be left out, as its line of usage names them."""
    given = signature(function).parameters.values()
    some = [f"[{one.name.upper()}...]" for one in given if one.kind is one.VAR_POSITIONAL]
    single = [
        one.name.upper() for one in given if one.kind is one.POSITIONAL_OR_KEYWORD and one.default is not one.empty
    ]
    return " ".join([*(f"[{name}]" for name in single), *some])


def paragraphs(markdown: str) -> list[str]:
    """Return what of a help text is translated: its paragraphs, and the remarks beside its examples."""
    found = []
    for part in _FENCE.split(markdown):
        if part.startswith("```"):
            found += [remark["text"] for remark in _REMARK.finditer(part)]
        else:
            found += [" ".join(one.split()) for one in part.split("\n\n") if one.strip()]
    return found


def in_language(markdown: str) -> str:
    """Return a help text in the user's language, the examples' commands as they are."""
    parts = []
    for part in _FENCE.split(markdown):
        if part.startswith("```"):
            parts.append(_REMARK.sub(lambda remark: remark["gap"] + translate(remark["text"]), part))
        else:
            parts.append("\n\n".join(translate(one) for one in part.split("\n\n")))
    return "".join(parts)


def _translated(shown: Any) -> Any:
    """Return a renderable of cyclopts in the user's language."""
    if isinstance(shown, InlineText):
        said = InlineText(_translated(shown.primary_renderable), force_empty_end=shown.force_empty_end)
        said.texts = [_translated(text) for text in shown.texts]
        return said
    if isinstance(shown, Markdown):
        return Markdown(in_language(shown.markup))
    if isinstance(shown, Text):
        return Text(translate(shown.plain), style=shown.style, end=shown.end)
    return translate(shown) if isinstance(shown, str) else shown
