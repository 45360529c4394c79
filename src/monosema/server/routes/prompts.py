"""Prompts: how the model reads a text or a chat, which features are active on a token, and why a token came."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import Field, model_validator

from monosema.atlas.fired_table import FiredRow, fired_table
from monosema.attribution import METHODS as ATTRIBUTIONS
from monosema.core import InputError, MonosemaError
from monosema.core.language import translate
from monosema.models import LanguageModel, Prompt
from monosema.server.events import encode
from monosema.server.library import ServedRun
from monosema.server.reading import DictionaryReading, PromptReading, Question
from monosema.server.replies import PlainJSON
from monosema.server.state import Served, Serving, Spoken
from monosema.server.text import Asking, Turn, Words
from monosema.server.why import METHODS, Answer, answers
from monosema.server.worker import Source

if TYPE_CHECKING:
    from pyarrow import Table

router = APIRouter(prefix="/api/prompt", tags=["prompt"])
SHOWN = 1024
"""Tokens of a prompt that a page shows."""


def _parquet(table: Table, spoken: str) -> bytes:
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def _json(table: Table, spoken: str) -> bytes:
    return bytes(PlainJSON({"rows": table.to_pylist()}).body)


def _html(table: Table, spoken: str) -> bytes:
    """Write a page that opens without a server: the tokens, and the strongest features on each."""
    from monosema.pages.notebook import page

    return page("fired", {"rows": table.to_pylist()}, translate("Features on a prompt", spoken), spoken)


Format = Literal["json", "parquet", "html"]
FORMATS: Mapping[str, tuple[Callable[[Table, str], bytes], str]] = {
    "json": (_json, "application/json"),
    "parquet": (_parquet, "application/vnd.apache.parquet"),
    "html": (_html, "text/html"),
}
"""Writers of a prompt's features by name, each with the type of its files."""
_FILES: dict[int | str, dict[str, Any]] = {
    200: {"description": "A file.", "content": {kind: {} for _, kind in FORMATS.values()}}
}


class Asked(Asking):
    """A prompt: a text, or the messages of a chat; `run` names whose model reads it, the newest run's without."""

    run: str | None = Field(None, max_length=200)
    text: Words | None = Field(None, max_length=100_000)
    messages: list[Turn] | None = Field(None, min_length=1, max_length=200)

    @model_validator(mode="after")
    def _one(self) -> Asked:
        if (self.text is None) == (self.messages is None):
            raise ValueError("give text or messages")
        return self

    @property
    def prompt(self) -> Prompt:
        """The prompt as models take it."""
        return self.text if self.messages is None else [turn.model_dump() for turn in self.messages]  # type: ignore[return-value]


class AskedPrompt(Asked):
    """A prompt, and how many next tokens to give for each position."""

    top: Annotated[int, Field(ge=1, le=50)] = 10


class AskedFeatures(Asked):
    """A prompt and a token of it; target and foil make a question, whose position is `at`.

    Tokens are ids, or texts that are one token, with or without the space before it; a foil of null is the runner-up,
    and "" is none.
    """

    position: int = Field(-1, ge=-100_000, le=100_000)
    at: int = Field(-1, ge=-100_000, le=100_000)
    target: int | Words | None = None
    foil: int | Words | None = None


class AskedWhy(AskedFeatures):
    """A question, the methods to answer it by (all without), and how many features each gives."""

    methods: list[str] | None = Field(None, max_length=50)
    most: Annotated[int, Field(ge=1, le=100)] = 12


@router.post("")
def prompt(asked: AskedPrompt, served: Served) -> dict[str, Any]:
    """Read a prompt: its tokens with surprise, entropy and the likeliest next tokens."""

    def read(model: LanguageModel) -> dict[str, Any]:
        start = time.perf_counter()
        reading = PromptReading(model, asked.prompt, SHOWN)
        tokens = [asdict(token) for token in reading.tokens_read(asked.top)]
        return {
            "model": model.name,
            "chat": model.tokenizer.chat_template is not None,
            "context": model.context,
            "text": reading.text,
            "tokens": tokens,
            "methods": [{"name": one.name, "title": one.title, "about": one.about} for one in METHODS.values()],
            "attribution": [
                {"name": one.name, "about": one.about, "family": one.family, "default": one.default}
                for one in ATTRIBUTIONS.values()
            ],
            "seconds": time.perf_counter() - start,
        }

    return served.with_model(run_of(served, asked), read)


@router.post("/features")
def features(asked: AskedFeatures, served: Served) -> dict[str, Any]:
    """Give the features that are active on a token, with what taking each out there does."""
    run = run_of(served, asked)

    def read(model: LanguageModel) -> dict[str, Any]:
        start = time.perf_counter()
        reading = PromptReading(model, asked.prompt, SHOWN)
        codes, at = DictionaryReading(reading, run.dictionary), reading.position(asked.position)
        found = codes.with_effects(at, question_of(asked, reading))
        return {
            "position": at,
            "site": codes.site.short,
            "read": bool(codes.where[at]),
            "features": [{**asdict(one), **_named(run, one.latent, one.value)} for one in found],
            "seconds": time.perf_counter() - start,
        }

    return served.with_model(run_of(served, asked), read)


@router.post("/export", response_class=Response, responses=_FILES)
def export(asked: Asked, served: Served, spoken: Spoken, format: Format = "json") -> Response:
    """Give all features on all tokens of a prompt as a file, a row for each (see `atlas.fired_table`).

    The page in HTML shows the strongest of each token.
    """
    run = run_of(served, asked)

    def read(model: LanguageModel) -> Table:
        reading = PromptReading(model, asked.prompt, SHOWN)
        codes = DictionaryReading(reading, run.dictionary)
        rows = []
        for at in range(len(reading.ids)):
            for one in codes.active(at):
                named = _named(run, one.latent, one.value)
                rows.append(FiredRow(at, one.latent, one.value, named["share"], named["label"] or None))
        return fired_table(model.tokenizer.tokens(reading.ids), rows)

    write, kind = FORMATS[format]
    content = write(served.with_model(run, read), spoken)
    headers = {"content-disposition": f'attachment; filename="prompt.{format}"', "cache-control": "no-cache"}
    return Response(content, media_type=kind, headers=headers)


@router.post("/why", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
def why(asked: AskedWhy, served: Served, spoken: Spoken) -> StreamingResponse:
    """Say why a token came rather than another, method by method, as server-sent events.

    Events: `question` {position, target, foil, value}, `answer` of a method, `failed` {method, reason}, and `end`.
    """
    run = run_of(served, asked)

    def answered(model: LanguageModel) -> Iterator[tuple[str, dict[str, Any]]]:
        reading = PromptReading(model, asked.prompt, SHOWN)
        codes, question = DictionaryReading(reading, run.dictionary), question_of(asked, reading)
        names = model.tokenizer.tokens([question.target, *([] if question.foil is None else [question.foil])])
        value = float(question.value(reading.logits[question.position]))
        tokens = {"target": names[0], "foil": names[1] if question.foil is not None else None}
        yield "question", {"position": question.position, "value": value, **tokens}
        for answer in answers(codes, question, asked.methods, asked.most):
            if isinstance(answer, Answer):
                shares = [{**asdict(one), **_named(run, one.latent, one.value)} for one in answer.features]
                yield "answer", {**asdict(answer), "features": shares}
            else:
                yield "failed", {"method": answer[0], "reason": answer[1]}
        yield "end", {}

    return events(served, served.source(run), answered, spoken)


def run_of(served: Serving, asked: Asked) -> ServedRun:
    """Return the run that was asked about, the newest without a name."""
    return served.library.runs()[0] if asked.run is None else served.library[asked.run]


def events(
    served: Serving, source: Source, work: Callable[[LanguageModel], Iterator[tuple[str, dict[str, Any]]]], spoken: str
) -> StreamingResponse:
    """Return what work on a model yields as server-sent events; others have the model between two of them.

    Reasons of what failed are said in the reader's language.
    """

    def lines() -> Iterator[bytes]:
        number = 0
        try:
            for number, (event, data) in enumerate(served.worker.iterate(source, work), start=1):
                said = {**data, "reason": translate(data["reason"], spoken)} if event == "failed" else data
                yield encode(number, event, said)
        except MonosemaError as error:
            yield encode(number + 1, "error", {"message": translate(str(error), spoken)})

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"cache-control": "no-store"})


def question_of(asked: AskedFeatures, reading: PromptReading) -> Question:
    """Return the question that target and foil make."""
    foil = -1 if asked.foil is None else None if asked.foil == "" else _token(asked.foil, reading.model, "foil")
    target = None if asked.target is None else _token(asked.target, reading.model, "target")
    return Question.about(reading, asked.at, target, foil)


def _token(given: int | str, model: LanguageModel, field: str) -> int:
    """Return the id that was given, or that of a text that is one token. Raises InputError for one that is not."""
    if isinstance(given, int):
        return given
    for text in (given, f" {given}"):
        ids = model.tokenizer.encode(text, bos=False)
        if len(ids) == 1:
            return ids[0]
    pieces = ", ".join(repr(piece) for piece in model.tokenizer.tokens(model.tokenizer.encode(given, bos=False))[:8])
    raise InputError(f"The {field} {given[:80]!r} is not one token, but {pieces}. Choose one of these.")


def _named(run: ServedRun, latent: int, value: float) -> dict[str, Any]:
    """Return a feature's label and the share of its maximum; nothing where the run has no atlas."""
    try:
        tables = run.described.tables
        brief = tables.brief(tables.row_of(latent))
    except MonosemaError:
        return {"label": "", "share": None}
    return {"label": brief["label"], "share": value / brief["max"] if brief["max"] else None}
