"""A prediction taken apart: which words it is owed to, by many methods; layer by layer, part by part, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from monosema.attribution import Attribution, Contrast, Game, Question, Token, attribute, methods_named, tokens_of
from monosema.attribution.answers import (
    PARTS,
    attention_values,
    hardest_heads,
    head_values,
    judged_values,
    parts_values,
    question_values,
)
from monosema.attribution.attention import read_attention
from monosema.attribution.lenses import Lens, logit_parts, prediction_steps, read_lens
from monosema.core import InputError, UnsupportedModelError
from monosema.models import GenerationConfig, LanguageModel, Transformer, read_prompt
from monosema.server.reading import PromptReading
from monosema.server.reading import Question as Asking
from monosema.server.routes.prompts import SHOWN, AskedFeatures, events, question_of, run_of
from monosema.server.state import Served, Serving, Spoken
from monosema.server.text import Words

router = APIRouter(prefix="/api/prompt", tags=["prompt"])
T = TypeVar("T")
MEMORY_MB = 256.0
"""Memory that the rows of one pass may take."""


class AskedAttribution(AskedFeatures):
    """A question, the players that the answer is divided among, and what stands for an absent one."""

    methods: list[str] | None = Field(None, max_length=50)
    players: Literal["tokens", "words", "sentences", "messages"] = "tokens"
    removal: Literal["twin", "mean", "zero", "unknown", "mask"] | None = None
    twin: Words | None = Field(None, max_length=100_000)


class AskedParts(AskedFeatures):
    """A question, and the parts that its logit is split into."""

    by: Literal["layer", "head", "neuron", "latent"] = "layer"
    most: Annotated[int, Field(ge=1, le=1000)] = PARTS


class AskedAttention(AskedFeatures):
    """A question, and a head as [layer, head]; without one, that which looks hardest at a token but the first."""

    head: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] | None = None
    weighted: bool = False


class AskedSteps(AskedFeatures):
    """A position, and the temperature of the choice."""

    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0


@router.post("/attribute", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
def attributed(asked: AskedAttribution, served: Served, spoken: Spoken) -> StreamingResponse:
    """Divide an answer among the words of the prompt, method by method, as server-sent events.

    Events: `question` {pieces, value, total, removal}, `answer` of a method, `failed` {method, reason}, `judged` (each
    order's figures of faithfulness less those of random orders; Kendall's τ between methods), and `end`.
    """
    methods = methods_named(asked.methods)

    def answered(model: LanguageModel) -> Iterator[tuple[str, dict[str, Any]]]:
        reading = PromptReading(model, asked.prompt, SHOWN)
        game = _game(model, asked, question_of(asked, reading))
        yield "question", question_values(game)
        done: list[Attribution] = []
        for method in methods:
            try:
                done.append(attribute(game, method))
            except InputError as error:
                yield "failed", {"method": method.name, "reason": str(error)}
                continue
            yield "answer", done[-1].to_dict()
        if done and len(game) > 1:
            yield "judged", judged_values(game, done)
        yield "end", {}

    return events(served, served.precise(run_of(served, asked)), answered, spoken)


@router.post("/lens")
def lens(asked: AskedFeatures, served: Served) -> dict[str, Any]:
    """Read every position up to the question's by the logit lens, layer by layer."""

    def read(model: Transformer, question: Asking) -> dict[str, Any]:
        ids = question.reading.ids[: question.position + 1]
        return read_lens(model, Lens(), ids, range(len(ids)), question.target).to_dict()

    return _with_decoder(served, asked, read)


@router.post("/parts")
def parts(asked: AskedParts, served: Served) -> dict[str, Any]:
    """Split the question's logit, or difference of logits, into what each part adds to the stream."""
    run = run_of(served, asked)

    def read(model: Transformer, question: Asking) -> dict[str, Any]:
        ids, dictionary = question.reading.ids[: question.position + 1], None
        if asked.by == "latent":
            dictionary = run.dictionary
        found = logit_parts(model, ids, question.target, question.foil, by=asked.by, dictionary=dictionary)
        return parts_values(found, asked.most)

    return _with_decoder(served, asked, read)


@router.post("/attention")
def attention(asked: AskedAttention, served: Served) -> dict[str, Any]:
    """Give four figures of every head, and where one looks: from the question's position, and among the last tokens."""

    def read(model: Transformer, question: Asking) -> dict[str, Any]:
        found = read_attention(model, question.reading.ids[: question.position + 1])
        shared = attention_values(found)
        ((layer, head),) = hardest_heads(found) if asked.head is None else [asked.head]
        if layer >= model.n_layers or head >= model.n_heads:
            raise InputError(
                f"There is no head {head} in layer {layer}: {model.name} has layers 0 to {model.n_layers - 1} of "
                f"{model.n_heads} heads."
            )
        return {**shared, **head_values(found, layer, head, asked.weighted)}

    return _with_decoder(served, asked, read)


@router.post("/steps")
def steps(asked: AskedSteps, served: Served) -> list[dict[str, Any]]:
    """Give the steps of the prediction after the question's position: tokens, embedding, blocks, logits, choice."""

    def read(model: Transformer, question: Asking) -> list[dict[str, Any]]:
        ids = question.reading.ids[: question.position + 1]
        return [vars(step) for step in prediction_steps(model, ids, temperature=asked.temperature)]

    return _with_decoder(served, asked, read)


def _with_decoder(served: Serving, asked: AskedFeatures, work: Callable[[Transformer, Asking], T]) -> T:
    def read(model: LanguageModel) -> T:
        if not isinstance(model, Transformer):
            raise UnsupportedModelError(f"{model.name} runs by another library, whose parts are not known.")
        return work(model, question_of(asked, PromptReading(model, asked.prompt, SHOWN)))

    return served.worker.call(served.precise(run_of(served, asked)), read)


def _game(model: LanguageModel, asked: AskedAttribution, about: Asking) -> Game:
    reading, end = about.reading, about.position + 1
    twin = None if not asked.twin else tuple(read_prompt(asked.twin, model.tokenizer, GenerationConfig()).ids)
    target = Token(about.target) if about.foil is None else Contrast((about.target,), (about.foil,))
    question = Question(
        ids=tuple(reading.ids[:end]), roles=tuple(reading.roles[:end].tolist()), target=target, twin=twin
    )
    return Game(model, question, tokens_of(model, question, asked.players, asked.removal), MEMORY_MB)
