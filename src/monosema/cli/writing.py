"""Texts that a model writes, as verbs are told to and as a terminal shows them."""

from __future__ import annotations

import contextlib
import functools
import math
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
    from monosema.evaluation import Row, SideBySide
    from monosema.models import Generation, LanguageModel, Prompt
    from monosema.runs.subject import Subject
    from monosema.steering import SteeredRow, Steering


@Parameter(name="*", group=Group("How it writes", sort_key=0))
@dataclass(frozen=True)
class Drawing:
    """Settings of a model's writing."""

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

    def check(self, drawn: bool = False) -> None:
        """Raise InputError, which names the option, for a value that can't be; `drawn`: tokens are drawn anyway."""
        if self.tokens is not None and self.tokens < 1:
            raise InputError(f"--tokens {self.tokens} is not valid: give 1 or more.")
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"--temperature {self.temperature:g} is not valid: give 0, or a number above it.")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"--top-k {self.top_k} is not valid: give 1 or more.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"--top-p {self.top_p:g} is not valid: give a probability above 0, at most 1.")
        if self.temperature == 0 and not drawn and (self.top_k, self.top_p) != (None, None):
            raise InputError(
                "--top-k and --top-p say which tokens may be drawn, and at temperature 0 none is: the likeliest is "
                "taken. Give --temperature too, as in 0.8."
            )

    def settings(self, common: Common, tokens: int) -> dict[str, Any]:
        """Return the fields of `GenerationConfig`; `tokens` is for those who gave none. Raises as `check` does."""
        self.check()
        return {
            "max_new_tokens": tokens if self.tokens is None else self.tokens,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "stop": self.stop,
            "seed": common.seed or 0,
        }


AS_USUAL = Drawing()


@Parameter(name="*", group=Group("Edits of the model", sort_key=1))
@dataclass(frozen=True)
class Edits:
    """Edits that hold while a model reads and writes."""

    steer: Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=True)] = ()
    """An edit: `17=+2` adds latent 17's direction, twice its largest activation; `17=0` takes it out; `17=1.5` sets it;
    `17=x0.5` scales it; `17=0..1` clamps it, with `?` behind only where it is active; `FILE=+1` adds a direction. A
    number may have a unit: `17=+40raw`, `17=+0.1norm`. `@last`, `@prompt`, `@generated[0:8]` behind say where, several
    with commas between; `@special,template` takes special tokens and a chat's template in. May be repeated: all hold
    together."""
    steering: Path | None = None
    """A file of edits, as `monosema steer --out` writes it: .toml, .json, .safetensors, .gguf or .pt."""

    @property
    def given(self) -> bool:
        """True where there is an edit."""
        return bool(self.steer) or self.steering is not None

    def open(self, subject: Subject) -> Steering:
        """Find what the edits name."""
        from monosema.steering import Steering, read_edit, read_steering

        found = Steering() if self.steering is None else read_steering(self.steering, subject.resolver)
        edits = [read_edit(text, subject.resolver) for text in self.steer]
        return Steering([*found.edits, *edits], found.strength)


NO_EDITS = Edits()


@Parameter(name="*", group=Group("A dictionary in the model", sort_key=2))
@dataclass(frozen=True)
class Changes:
    """Changes inside the model while it writes, and what stands beside them."""

    run: Path | None = None
    """A run folder, or a dictionary in any format, whose latents --steer names; the model is the one that it is of."""
    beside: Annotated[bool, Parameter(negative="")] = False
    """Show the untouched model's text too, drawn with the same noise, and how far the steered one moved."""
    splice: Literal["keep", "drop"] | None = None
    """Put the dictionary's reconstructions in place, beside the untouched model and controls. `drop` leaves out what
    the dictionary does not explain; `keep` adds it, and changes nothing."""
    controls: bool = True
    """Write with PCA, random directions and the mean in place too."""

    @property
    def compares(self) -> bool:
        """True where several versions write."""
        return self.beside or self.splice is not None

    def open(self, model: str | None, edits: Edits, common: Common, default: str) -> Subject:
        """Open the model and what is to change it."""
        from monosema.runs.subject import open_subject

        if self.splice is not None and self.run is None:
            raise InputError("--splice puts a dictionary in place: name it, or its run, with --run.")
        if self.splice is not None and edits.given:
            raise InputError("--splice and --steer are two experiments: give one of them.")
        if self.beside and not edits.given:
            raise InputError("--beside shows the untouched text beside the steered one: give edits with --steer.")
        return open_subject(self.run, model, device=common.device, default=default)

    def compare(
        self, subject: Subject, edits: Edits, prompts: Sequence[Prompt], settings: dict[str, Any]
    ) -> SideBySide:
        """Let the model write untouched and changed, with the same noise."""
        from monosema.evaluation import side_by_side, splice_test
        from monosema.steering import steered

        if self.splice is None:
            version = functools.partial(steered, subject.model, edits.open(subject))
            return side_by_side(subject.model, prompts, {"steered": version}, **settings)
        return splice_test(
            subject.model,
            subject.dictionary,
            prompts,
            site=subject.site,
            error=self.splice,
            text=subject.text() if self.controls else None,
            **settings,
        )


UNCHANGED = Changes()


def steering_block(subject: Subject, edits: Edits) -> contextlib.AbstractContextManager[Sequence[SteeredRow | None]]:
    """Return the block within which the model is steered; without edits, one that does nothing and yields no rows."""
    if not edits.given:
        return contextlib.nullcontext(())
    from monosema.steering import steered

    return steered(subject.model, edits.open(subject))


def require_template(model: LanguageModel) -> None:
    """Raise InputError for a model that knows no turns of a chat."""
    if model.tokenizer.chat_template is None:
        raise InputError(
            f"{model.name} has no chat template: it continues texts, and knows no turns. Use `monosema complete`, or "
            "chat with one that has, such as --model smollm2."
        )


def show_stream(
    model: LanguageModel, prompt: Prompt, settings: dict[str, Any], console: Console, before: str = ""
) -> tuple[str, bool]:
    """Show a text as it is written, behind what was `before` it; Ctrl-C ends it. Nothing is shown before the first
    token is there. Returns the text, and true if it was ended so.
    """
    shown: list[str] = []
    with contextlib.closing(model.stream(prompt, **settings)) as pieces:
        try:
            for piece in pieces:
                if not shown:
                    console.print(Text(before, "dim"), end="")
                shown.append(piece.text)
                console.file.write(piece.text)
                console.file.flush()
        except KeyboardInterrupt:
            return "".join(shown), True
        finally:
            if shown:
                console.file.write("\n")
    return "".join(shown), False


def marked(tokens: Sequence[str], edited: set[int], style: str = "") -> Text:
    """Return tokens as one text, those that were edited underlined."""
    from monosema.models import shown_tokens, visible

    text = Text(style=style, overflow="fold")
    for one in shown_tokens(tokens):
        inside = any(place in edited for place in range(one.start, one.stop))
        text.append(visible(one.text), style="underline" if inside else "")
    return text


def written(model: LanguageModel, one: Generation, row: SteeredRow | None) -> Text:
    """Return a text that was written, its edited tokens underlined."""
    from monosema.models import visible

    if row is None:
        return Text(visible(one.text), overflow="fold")
    ids = list(one.tokens[:-1] if one.finish == "eos" else one.tokens)
    return marked(model.tokenizer.tokens(ids), row.generated)


def edited_line(row: SteeredRow) -> str:
    """Say how many tokens were edited, or selected by edits that read what is there and may leave it as it is."""
    done = "edited" if row.steering.only_adds else "selected"
    prompt, text = len(row.prompt), len(row.generated)
    if prompt == 1:
        return f"{done}: 1 token of the prompt, {text:,} of the text"
    return f"{done}: {prompt:,} tokens of the prompt, {text:,} of the text"


def show_side_by_side(result: SideBySide, model: LanguageModel, console: Console) -> None:
    """Print each prompt with the texts of all versions, then how far they moved."""
    from monosema.models import visible

    for place, first in enumerate(result.rows[0].texts):
        console.print(Text(visible(first.prompt), style="dim"))
        texts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        texts.add_column(no_wrap=True)
        texts.add_column(overflow="fold")
        for row in result.rows:
            edited = row.edited[place] if row.edited else None
            texts.add_row(Text(translate(row.name), style="bold"), written(model, row.texts[place], edited))
            if edited is not None:
                texts.add_row("", Text(translate(edited_line(edited)), style="dim"))
        console.print(Padding(texts, (0, 0, 1, 2)))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("version")
    for name in ("KL per token", "equal next tokens", "first difference", "perplexity"):
        table.add_column(name, justify="right")
    for row in result.rows:
        table.add_row(translate(row.name), *_cells(row))
    console.print(table)
    if any(row.edited and row.metrics["kl"] == 0 for row in result.rows):
        console.print(Text(translate(SILENT)))
    console.print(Text(translate(MOVED), style="dim"))


SILENT = (
    "The edits changed nothing here: at all tokens selected, what they read has the wanted value already. A latent "
    "that is silent there can't be scaled or taken out."
)


MOVED = (
    "KL per token and equal next tokens: along the untouched model's text, at temperature 1. first difference: the "
    "token at which the text becomes another one (of several texts, the median). perplexity: of the version's own text "
    "under the untouched model; repetition lowers it. All draw the same noise."
)


def _cells(row: Row) -> Iterator[str]:
    metrics, intervals = row.metrics, row.intervals
    forms = {"kl": ".3f", "equal": ".1%", "first_difference": "", "perplexity": ".2f"}
    for name, form in forms.items():
        value = metrics[name]
        cell = translate("none") if value is None else f"{value:{form}}"
        if name in intervals:
            cell += f" [{intervals[name].low:{form}}, {intervals[name].high:{form}}]"
        yield cell
