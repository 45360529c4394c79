"""Texts that are written: completion and chat, steered and unsteered in lockstep, as events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import Field, model_validator
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from monosema.core import InputError
from monosema.server.errors import NotFoundError
from monosema.server.events import seen_number, send
from monosema.server.state import Served, Serving, Spoken
from monosema.server.text import Asking, ChatMessage, Words
from monosema.server.worker import Source

if TYPE_CHECKING:
    from monosema.models import LanguageModel
    from monosema.steering import Steering

router = APIRouter(prefix="/api/generate", tags=["generate"])
MOST_TEXTS = 8


class GenerateRequest(Asking):
    """Texts that are asked for.

    Attributes:
        run: whose model and dictionary are used; the newest without it.
        prompt, messages: what is continued: one of them.
        steerings: a text for each, null for one that nothing steers; all draw with the same noise.
        likely: how many of the likeliest next tokens are told at each step, with the divergence from the untouched
            model's on the same text.
    """

    run: str | None = None
    prompt: Words | None = Field(None, min_length=1)
    messages: list[ChatMessage] | None = Field(None, min_length=1, max_length=500)
    steerings: list[dict[str, Any] | None] = Field([None], min_length=1, max_length=MOST_TEXTS)
    seed: int = Field(0, ge=0, lt=2**63)
    temperature: float = Field(0.0, ge=0, le=100, allow_inf_nan=False)
    top_k: int | None = Field(None, gt=0, le=2**31)
    top_p: float | None = Field(None, gt=0, le=1)
    max_new_tokens: int = Field(64, gt=0, le=8192)
    stop: list[Annotated[Words, Field(min_length=1, max_length=200)]] = Field(default_factory=list, max_length=8)
    likely: int = Field(0, ge=0, le=20)

    @model_validator(mode="after")
    def _one_prompt(self) -> GenerateRequest:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        return self


@router.post("", response_class=EventSourceResponse)
async def generate(asked: GenerateRequest, served: Served, spoken: Spoken) -> EventSourceResponse:
    """Write texts, a token of each at a time.

    Events: `start` {id, rows, prompt, tokens}; `place` {place} while it waits; `delta` {row, token, text, edited,
    finish}, of a row's first with prompt_edited, and with `likely` also {likely, untouched, kl}; `error` {message};
    `end` {state, rows: [{row, finish, edited, unmatched}]}. A delta is `edited` if the token before it was.
    """
    source, request = await run_in_threadpool(_read, asked, served, spoken)
    writing = await asyncio.wrap_future(served.worker.write(source, request))
    return send(writing.stream.read())


@router.get("/{id}", response_class=EventSourceResponse)
async def resume(
    id: Annotated[str, Path(max_length=64)], served: Served, seen: Annotated[int, Depends(seen_number)]
) -> EventSourceResponse:
    """Go on reading where a reader has stopped: events behind its Last-Event-ID."""
    return send(_known(served, id).stream.read(seen))


@router.delete("/{id}", status_code=204)
def cancel(id: Annotated[str, Path(max_length=64)], served: Served) -> None:
    """End the texts before their next token."""
    _known(served, id).cancel()


def _known(served: Serving, id: str) -> Any:
    writing = served.worker.find(id)
    if writing is None:
        raise NotFoundError("There is no such text any more: it was ended, or the server was started anew.")
    return writing


def _read(asked: GenerateRequest, served: Serving, spoken: str) -> tuple[Source, Any]:
    """Return the model and what it is to write."""
    from monosema.models import GenerationConfig
    from monosema.server.desk import Request
    from monosema.server.steerings import steering_of

    run = served.library[asked.run] if asked.run is not None else next(iter(served.library.runs()), None)
    if run is None:
        raise InputError("There is no run here, so there is no model: start the server with a run.")
    config = GenerationConfig(
        max_new_tokens=asked.max_new_tokens,
        temperature=asked.temperature,
        top_k=asked.top_k,
        top_p=asked.top_p,
        seed=asked.seed,
        stop=tuple(asked.stop),
    )
    messages = None if asked.messages is None else [message.model_dump() for message in asked.messages]
    prompt: Any = asked.prompt if messages is None else messages
    wanted = asked.steerings

    def made(model: LanguageModel) -> list[Steering | None]:
        return [None if spec is None else steering_of(run, model, spec) for spec in wanted]

    steerings = served.with_model(run, made) if any(wanted) else [None for _ in wanted]
    return served.source(run), Request(prompt, config, steerings, asked.likely, spoken)
