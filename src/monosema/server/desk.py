"""Texts that one model writes for several requests, each row by its own steering, and what their readers see."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from monosema.core import InputError, MonosemaError
from monosema.core.language import translate
from monosema.models import (
    Batch,
    GenerationConfig,
    Piece,
    Prompt,
    Row,
    TextGeneration,
    Tokenizer,
    read_prompt,
    require_logits,
)
from monosema.models.texts import TextModel
from monosema.server.events import Stream
from monosema.steering import SteeredBatch, SteeredRow, Steering

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """Texts that are asked for.

    Attributes:
        prompt: what all go on from.
        config: how tokens are drawn; all texts draw with the same noise, so that they differ by their steering only.
        steerings: one text for each; None for one that nothing steers.
        likely: how many of the likeliest next tokens are told at each step. Then the untouched model reads each
            steered text along, and the divergence KL(steered ‖ untouched) is told too, in nats.
        language: code of the language in which errors are told.
    """

    prompt: Prompt
    config: GenerationConfig
    steerings: Sequence[Steering | None] = (None,)
    likely: int = 0
    language: str = "en"


@dataclass(eq=False)
class Line:
    """A row with its steering.

    Attributes:
        row: the text.
        steered: its edits, and what they have edited so far.
        untouched: a row of the same text that nothing steers; None where nobody wants to compare.
    """

    row: Row
    steered: SteeredRow | None
    untouched: Row | None = None


class Writing:
    """A request that is being written; its events are `start`, `place`, `delta` (a token of a row), `error`, `end`.

    Attributes:
        id: what its readers call it.
        stream: its events.
        cancelled: True once nobody wants it any more.
    """

    def __init__(self, request: Request, model: TextGeneration) -> None:
        self.id = uuid.uuid4().hex
        self.request, self.cancelled = request, False
        self.stream = Stream()
        self._tokenizer = model.tokenizer
        prompt = read_prompt(request.prompt, model.tokenizer, request.config)
        self.lines: list[Line] = []
        for index, steering in enumerate(request.steerings):
            row = Row(model, prompt, request.config, index)
            line = Line(row, None if steering is None else SteeredRow(steering))
            if request.likely and steering is not None:
                line.untouched = Row(model, prompt, request.config, index, leader=row)
            self.lines.append(line)
        self._place = 0
        texts = model.tokenizer.tokens(prompt.ids)
        self.stream.add("start", {"id": self.id, "rows": len(self.lines), "prompt": prompt.text, "tokens": texts})

    @property
    def rows(self) -> list[Row]:
        """All rows, those that are read along for comparison behind those that they follow."""
        return [row for line in self.lines for row in (line.row, line.untouched) if row is not None]

    def cancel(self) -> None:
        """Let it end before the next token."""
        self.cancelled = True

    def unwanted(self, grace: float) -> bool:
        """Return True if it was cancelled, or its readers have been gone for longer than so many seconds."""
        return self.cancelled or self.stream.unread > grace

    def tell_place(self, place: int) -> None:
        """Tell its place in the queue, where that is news."""
        if place != self._place:
            self._place = place
            self.stream.add("place", {"place": place})

    def give(self, rows: set[int]) -> None:
        """Tell of the tokens that these rows were given."""
        for line in self.lines:
            if id(line.row) in rows and line.row.failure is None:
                self.stream.add("delta", self._delta(line, line.row.piece()))
        failed = next((line.row.failure for line in self.lines if line.row.failure is not None), None)
        if failed is not None:
            self.fail(str(failed))
        elif all(line.row.ended for line in self.lines):
            self.end("done")

    def fail(self, message: str) -> None:
        """End it with an error."""
        if not self.stream.closed:
            self.stream.add("error", {"message": translate(message, self.request.language)})
            self.end("failed")

    def end(self, state: str) -> None:
        """End it, and tell what was edited."""
        if self.stream.closed:
            return
        self.stream.add("end", {"state": state, "rows": [_outcome(line) for line in self.lines]})
        self.stream.close()
        for row in self.rows:
            row.logits = None  # Its events are kept for a while: they don't need the logits of the whole batch.

    def _delta(self, line: Line, piece: Piece) -> dict[str, Any]:
        row, steered = line.row, line.steered
        n = len(row.written)
        # The token before this one was read, and edited, in the pass that gave this one.
        edited = steered is not None and (n - 2 in steered.generated if n > 1 else bool(steered.prompt))
        delta: dict[str, Any] = {
            "row": piece.row,
            "token": piece.token,
            "text": piece.text,
            "edited": edited,
            "finish": piece.finish,
        }
        if n == 1 and steered is not None:
            delta["prompt_edited"] = sorted(steered.prompt)
        if self.request.likely and row.logits is not None:
            most = self.request.likely
            likely = likeliest(row.logits, most, self._tokenizer)
            delta |= {"likely": likely, "p": _probability(row.logits, piece.token)}
            if line.untouched is not None and line.untouched.logits is not None:
                delta["untouched"] = likeliest(line.untouched.logits, most, self._tokenizer)
                delta["untouched_p"] = _probability(line.untouched.logits, piece.token)
                delta["kl"] = divergence(row.logits, line.untouched.logits)
        return delta


def likeliest(logits: Float[Tensor, " vocab"], most: int, tokenizer: Tokenizer) -> list[tuple[str, float]]:
    """Return the likeliest tokens and their probabilities."""
    top = logits.float().softmax(-1).topk(min(most, len(logits)))
    return list(zip(tokenizer.tokens(top.indices.tolist()), top.values.tolist(), strict=True))


def _probability(logits: Float[Tensor, " vocab"], token: int) -> float:
    return float(logits.float().log_softmax(-1)[token].exp())


def divergence(logits: Float[Tensor, " vocab"], other: Float[Tensor, " vocab"]) -> float:
    """Return KL(p ‖ q) of two next-token distributions, in nats."""
    log_p, log_q = logits.float().log_softmax(-1), other.float().log_softmax(-1)
    terms = log_p.exp() * (log_p - log_q)
    return max(0.0, float(terms.nan_to_num(0.0).sum()))


def _outcome(line: Line) -> dict[str, Any]:
    about: dict[str, Any] = {"row": line.row.index, "finish": line.row.finish}
    if line.steered is not None:
        about["edited"] = line.steered.to_dict()
        about["unmatched"] = [edit.coordinate.name for edit in line.steered.unmatched]
    return about


@dataclass(eq=False)
class _Places:
    """Where each row belongs."""

    writing: dict[int, Writing] = field(default_factory=dict)
    steered: dict[int, SteeredRow | None] = field(default_factory=dict)


class Desk:
    """A model with the texts that it writes.

    Attributes:
        model: nothing is attached to it between two steps.
        writings: requests whose rows are in the batch.
    """

    def __init__(self, model: Any, grace: float = float("inf")) -> None:
        """`grace`: seconds after which a text is given up that nobody reads."""
        self.writings: list[Writing] = []
        self.model, self._grace = model, grace
        self._steered = SteeredBatch(model)
        self._places = _Places()
        self._batch = self._new_batch()

    @property
    def rows(self) -> list[Row]:
        """The rows in the batch."""
        return self._batch.rows

    def read(self, request: Request) -> Writing:
        """Read a request. Raises InputError where its prompt or a site of its steerings does not fit the model."""
        require_logits(self.model)
        if not isinstance(self.model, TextModel):
            raise InputError(f"{self.model.name!r} writes no text: choose a run of a single language model.")
        for steering in request.steerings:
            for site in () if steering is None else steering.sites:
                self.model.find(site)
        return Writing(request, self.model)

    def join(self, writing: Writing) -> None:
        """Take a request's rows into the batch."""
        self.writings.append(writing)
        for line in writing.lines:
            self._places.steered[id(line.row)] = line.steered
        self._places.writing |= {id(row): writing for row in writing.rows}
        self._batch.join(writing.rows)

    def step(self) -> None:
        """Give each row a token, and tell the readers; what is unwanted leaves before."""
        for writing in [one for one in self.writings if one.unwanted(self._grace)]:
            writing.end("cancelled")
            self._leave(writing.rows)
        if not self.writings:
            return
        try:
            given = self._batch.step()
        except Exception:
            self._apart()
        else:
            self._give(given)

    def fail(self, message: str) -> None:
        """End all with an error."""
        for writing in list(self.writings):
            writing.fail(message)
            self._leave(writing.rows)
        self._batch, self._places = self._new_batch(), _Places()

    def _new_batch(self) -> Batch:
        return Batch(self.model, around=self._around)

    @contextlib.contextmanager
    def _around(self, rows: Sequence[Row]) -> Iterator[None]:
        wanted = [self._places.steered.get(id(row)) for row in rows]
        if wanted != self._steered.rows:
            self._steered.rows = wanted
        with self._steered:
            yield

    def _give(self, given: Sequence[Row]) -> None:
        ids = set(map(id, given))
        for writing in [one for one in self.writings if any(id(row) in ids for row in one.rows)]:
            writing.give(ids)
            self._leave(writing.rows if writing.stream.closed else [row for row in writing.rows if row.ended])

    def _leave(self, rows: Sequence[Row]) -> None:
        self._batch.leave(rows)
        for row in rows:
            self._places.writing.pop(id(row), None)
            self._places.steered.pop(id(row), None)
        self.writings = [one for one in self.writings if not one.stream.closed]

    def _apart(self) -> None:
        """Give each request its tokens on its own, after a pass that raised: whose pass raises again ends with it."""
        self._batch = self._new_batch()
        for writing in list(self.writings):
            alone = self._new_batch()
            alone.join([row for row in writing.rows if not row.ended])
            try:
                given = alone.step()
            except Exception as error:
                if not isinstance(error, MonosemaError):
                    _log.exception("A request failed")
                said = str(error) if isinstance(error, MonosemaError) else f"It failed: {type(error).__name__}: {error}"
                writing.fail(said)
                self._leave(writing.rows)
            else:
                self._batch.join([row for row in writing.rows if not row.ended])
                writing.give(set(map(id, given)))
                if writing.stream.closed:
                    self._leave(writing.rows)
