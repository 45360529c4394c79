"""Texts that a model writes, as verbs are told to and as a terminal shows them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from monosema.cli.common import Common
from monosema.core import InputError
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.evaluation import SideBySide
    from monosema.models import LanguageModel, Prompt
    from monosema.runs.subject import Subject


@Parameter(name="*", group=Group("How it writes", sort_key=0))
@dataclass(frozen=True)
class Drawing:
    """How a model writes."""

    tokens: Annotated[int | None, Parameter(metavar="INT")] = None
    """Tokens to write at most [40; of an answer in a chat 200]."""
    temperature: float = 0.0
    """0 takes the likeliest token each time; higher is more varied."""
    top_k: int | None = None
    """Draw among so many likeliest tokens."""
    top_p: float | None = None
    """Draw among the likeliest tokens that hold this probability."""
    stop: tuple[str, ...] = ()
    """Texts at which to stop."""

    def settings(self, common: Common, tokens: int) -> dict[str, Any]:
        """Return the fields of `GenerationConfig`; `tokens` is for those who gave none."""
        return {
            "max_new_tokens": tokens if self.tokens is None else self.tokens,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "stop": self.stop,
            "seed": common.seed or 0,
        }


AS_USUAL = Drawing()


@Parameter(name="*", group=Group("A dictionary in the model", sort_key=1))
@dataclass(frozen=True)
class Changes:
    """What is changed inside the model while it writes."""

    run: Path | None = None
    """A run folder, or a dictionary in any format; the model is the one that it is of."""
    splice: Literal["keep", "drop"] | None = None
    """Put the dictionary's reconstructions in place, beside the untouched model and controls. `drop` leaves out what
    the dictionary does not explain; `keep` adds it, and changes nothing."""
    controls: bool = True
    """Write with PCA, random directions and the mean in place too."""

    @property
    def beside(self) -> bool:
        """True where several versions write."""
        return self.splice is not None

    def open(self, model: str | None, common: Common, default: str) -> Subject:
        """Open the model and what is to change it."""
        from monosema.runs.subject import open_subject

        if self.splice is not None and self.run is None:
            raise InputError("--splice puts a dictionary in place: name it, or its run, with --run.")
        return open_subject(self.run, model, device=common.device, default=default)

    def compare(self, subject: Subject, prompts: Sequence[Prompt], settings: dict[str, Any]) -> SideBySide:
        """Let the model write untouched and changed, with the same noise."""
        from monosema.evaluation import splice_test

        assert subject.dictionary is not None
        return splice_test(
            subject.model,
            subject.dictionary,
            prompts,
            site=subject.site,
            error=self.splice or "drop",
            text=subject.text() if self.controls else None,
            **settings,
        )


UNCHANGED = Changes()


def show_stream(model: LanguageModel, prompt: Prompt, settings: dict[str, Any], console: Console) -> tuple[str, bool]:
    """Show a text as it is written; Ctrl-C ends it. Returns the text, and true if it was ended so."""
    shown = []
    with contextlib.closing(model.stream(prompt, **settings)) as pieces:
        try:
            for piece in pieces:
                shown.append(piece.text)
                console.file.write(piece.text)
                console.file.flush()
        except KeyboardInterrupt:
            return "".join(shown), True
        finally:
            console.file.write("\n")
    return "".join(shown), False


def show_side_by_side(result: SideBySide, console: Console) -> None:
    """Print each prompt with the texts of all versions, then how far they moved."""
    from monosema.models import visible

    for place, first in enumerate(result.rows[0].texts):
        console.print(Text(visible(first.prompt), style="dim"))
        texts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        texts.add_column(no_wrap=True)
        texts.add_column(overflow="fold")
        for row in result.rows:
            texts.add_row(Text(translate(row.name), style="bold"), Text(visible(row.texts[place].text)))
        console.print(Padding(texts, (0, 0, 1, 2)))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("version")
    for name in ("KL per token", "equal next tokens", "first difference", "perplexity"):
        table.add_column(name, justify="right")
    for row in result.rows:
        table.add_row(translate(row.name), *_cells(row))
    console.print(table)
    console.print(Text(translate(MOVED), style="dim"))


MOVED = (
    "KL per token and equal next tokens: along the untouched model's text, at temperature 1. first difference: the "
    "token at which the text becomes another one (of several texts, the median). perplexity: of the version's own text "
    "under the untouched model; repetition lowers it. All draw the same noise."
)


def _cells(row: Any) -> Iterator[str]:
    metrics, intervals = row.metrics, row.intervals
    forms = {"kl": ".3f", "equal": ".1%", "first_difference": "", "perplexity": ".2f"}
    for name, form in forms.items():
        value = metrics[name]
        cell = "none" if value is None else f"{value:{form}}"
        if name in intervals:
            cell += f" [{intervals[name].low:{form}}, {intervals[name].high:{form}}]"
        yield cell
