"""A prediction taken apart: which words it is owed to, by many methods; layer by layer, part by part, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.attribution import (
    MEASURES,
    Attribution,
    Contrast,
    Game,
    Question,
    Token,
    Tokens,
    agreement,
    attribute,
    faithfulness,
    methods_named,
    tokens_of,
)
from monosema.attribution.attention import read_attention
from monosema.attribution.lenses import Lens, logit_parts, prediction_steps, read_lens
from monosema.core import InputError, UnsupportedModelError
from monosema.models import GenerationConfig, LanguageModel, Transformer, read_prompt
from monosema.server.reading import PromptReading
from monosema.server.reading import Question as Asking
from monosema.server.routes.prompts import SHOWN, AskedFeatures, events, question_of, run_of
from monosema.server.state import Served, Serving
from monosema.server.text import Words

router = APIRouter(prefix="/api/prompt", tags=["prompt"])
T = TypeVar("T")
MEMORY_MB = 256.0
"""Memory that the rows of one pass may take."""
MAPPED = 40
"""Tokens of a heat map, the last of a prompt."""


class AskedAttribution(AskedFeatures):
    """A question, the players that the answer is divided among, and what stands for an absent one."""

    methods: list[str] | None = Field(None, max_length=50)
    players: Literal["tokens", "words", "sentences", "messages"] = "tokens"
    removal: Literal["twin", "mean", "zero", "unknown", "mask"] | None = None
    twin: Words | None = Field(None, max_length=100_000)


class AskedParts(AskedFeatures):
    """A question, and the parts that its logit is split into."""

    by: Literal["layer", "head", "neuron", "latent"] = "layer"
    most: Annotated[int, Field(ge=1, le=1000)] = 40


class AskedAttention(AskedFeatures):
    """A question, and a head as [layer, head]; without one, that which looks hardest at a token but the first."""

    head: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] | None = None
    weighted: bool = False


class AskedSteps(AskedFeatures):
    """A position, and the temperature of the choice."""

    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0


@router.post("/attribute", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
def attributed(asked: AskedAttribution, served: Served) -> StreamingResponse:
    """Divide an answer among the words of the prompt, method by method, as server-sent events.

    Events: `question` {pieces, value, total, removal}, `answer` of a method, `failed` {method, reason}, `judged` (each
    order's figures of faithfulness less those of random orders; Kendall's τ between methods), and `end`.
    """
    methods = methods_named(asked.methods)

    def answered(model: LanguageModel) -> Iterator[tuple[str, dict[str, Any]]]:
        reading = PromptReading(model, asked.prompt, SHOWN)
        game = _game(model, asked, question_of(asked, reading))
        assert isinstance(game.players, Tokens)
        yield (
            "question",
            {
                "pieces": _pieces(model, game.question.ids, game.players),
                "value": game.full,
                "total": game.full - game.empty,
                "removal": game.players.removal,
            },
        )
        done: list[Attribution] = []
        for method in methods:
            try:
                done.append(attribute(game, method))
            except InputError as error:
                yield "failed", {"method": method.name, "reason": str(error)}
                continue
            yield "answer", done[-1].to_dict()
        if done and len(game) > 1:
            yield "judged", _judged(game, done)
        yield "end", {}

    return events(served, served.precise(run_of(served, asked)), answered)


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
        shown = found.largest(asked.most)
        rest = float(found.scores.sum()) - sum(score for _, score in shown)
        values = {**found.to_dict(), "parts": [{"part": name, "score": score} for name, score in shown]}
        return {**values, "n": len(found.names), "rest": rest}

    return _with_decoder(served, asked, read)


@router.post("/attention")
def attention(asked: AskedAttention, served: Served) -> dict[str, Any]:
    """Give four figures of every head, and where one looks: from the question's position, and among the last tokens."""

    def read(model: Transformer, question: Asking) -> dict[str, Any]:
        found = read_attention(model, question.reading.ids[: question.position + 1])
        figures = {name: values.tolist() for name, values in found.figures().items()}
        given = found.weighted if asked.weighted else found.pattern
        hardest = int(found.weighted[:, :, -1, 1:].amax(-1).argmax())
        layer, head = divmod(hardest, model.n_heads) if asked.head is None else asked.head
        if layer >= model.n_layers or head >= model.n_heads:
            raise InputError(
                f"There is no head {head} in layer {layer}: {model.name} has layers 0 to {model.n_layers - 1} of "
                f"{model.n_heads} heads."
            )
        first = max(len(found.tokens) - MAPPED, 0)
        return {
            "tokens": list(found.tokens),
            "figures": figures,
            "head": [layer, head],
            "looks": given[layer, head, -1].tolist(),
            "first": first,
            "map": given[layer, head, first:, first:].tolist(),
        }

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


def _judged(game: Game, done: Sequence[Attribution]) -> dict[str, Any]:
    """Return how far each method's order is from chance, forward and backward, and how well the methods agree."""
    found = faithfulness(game, [one.scores for one in done])

    def named(figures: Float[Tensor, "orders measures"]) -> dict[str, dict[str, float]]:
        return {
            one.method: dict(zip(MEASURES, row.tolist(), strict=True)) for one, row in zip(done, figures, strict=True)
        }

    return {
        "gains": named(found.orders),
        "reversed": named(found.reverses),
        "methods": [one.method for one in done],
        "agreement": [[agreement(a.scores, b.scores) for b in done] for a in done],
    }


def _pieces(model: LanguageModel, ids: tuple[int, ...], players: Tokens) -> list[dict[str, Any]]:
    """Return the prompt in pieces: players by their number, and tokens that always stay without one."""
    texts = model.tokenizer.tokens(list(ids))
    first = {group[0]: number for number, group in enumerate(players.groups)}
    inner = {at for group in players.groups for at in group[1:]}
    return [
        {"text": players.names[first[at]] if at in first else texts[at], "player": first.get(at)}
        for at in range(len(ids))
        if at not in inner
    ]
