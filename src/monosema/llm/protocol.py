"""Requests, replies and failures: values that every client shares, and the protocol of a client."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import Field, JsonValue, field_validator

from monosema.core import Config, Progress

FailureKind = Literal[
    "refusal", "malformed", "truncated", "rejected", "unavailable", "cost cap", "pending", "expired", "cancelled"
]


class Message(Config):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: str
    """The text."""


class Request(Config):
    """A question to a language model. Equal requests to the same model have one answer, which is paid once."""

    messages: tuple[Message, ...] = Field(min_length=1)
    """The conversation so far; the model gives the next turn."""
    max_tokens: int = Field(512, gt=0)
    """Most tokens of the reply, hidden reasoning included. The cost cap counts on it."""
    temperature: float | None = Field(None, ge=0, le=2)
    """Sampling temperature; None leaves it to the provider. Some providers take none: `Reply.ignored` says so."""
    response_schema: dict[str, JsonValue] | None = None
    """JSON Schema of the reply; it is sent to the provider and checked here."""
    log_probabilities: int = Field(0, ge=0, le=20)
    """Number of likely alternatives to each token to return with their log-probabilities; 0 for none at all."""
    seed: int | None = None
    """Seed of the sampling where the provider has one; elsewhere it only tells samples apart."""

    @field_validator("response_schema")
    @classmethod
    def _is_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None and (problem := _schema_problem(json.dumps(schema))) is not None:
            raise ValueError(f"not a JSON Schema: {problem}")
        return schema


@functools.lru_cache(maxsize=256)
def _schema_problem(schema: str) -> str | None:
    """Return what is wrong with a schema. Many requests share one, and checking it takes longer than the rest."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(json.loads(schema))
    except SchemaError as error:
        return str(error.message)
    return None


class Usage(Config):
    """Tokens that the provider counted."""

    input_tokens: int = 0
    """Tokens read, cached ones included."""
    output_tokens: int = 0
    """Tokens written, hidden reasoning included."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens, output_tokens=self.output_tokens + other.output_tokens
        )


class Alternative(Config):
    """A token that might have stood in a place."""

    token: str
    """Its text."""
    log_probability: float
    """Natural logarithm of its probability."""


class TokenLogProbability(Alternative):
    """A token of the reply, with its likeliest alternatives (itself included where it is among them)."""

    alternatives: tuple[Alternative, ...] = ()
    """At most as many as the request asked for, the likeliest first."""


class Absent(Config):
    """Something that isn't there, and why."""

    reason: str
    """In words for people."""


class Failure(Config):
    """Why a request has no usable answer. Failures are counted and shown, never taken as answers.

    Kinds: ``refusal`` the model declines; ``malformed`` the answer isn't what the schema asks for, after all attempts;
    ``truncated`` the schema's answer ended at the token limit; ``rejected`` the provider takes the request for wrong;
    ``unavailable`` the provider did not answer in all attempts; ``cost cap`` not sent, as the cap does not allow it;
    ``pending`` not asked, as it waits in a batch; ``expired`` and ``cancelled`` the batch ended before its turn.
    """

    kind: FailureKind
    """Kind of the failure, see above."""
    detail: str
    """Explanation for people."""
    text: str = ""
    """Words of the model or the provider, unchanged."""

    @property
    def paid(self) -> bool:
        """True if the model did answer: it was paid for, and asking again would be paid again."""
        return self.kind in ("refusal", "malformed", "truncated")


class Reply(Config):
    """Outcome of a request: an answer, or a failure."""

    text: str = ""
    """The model's text."""
    parsed: JsonValue = None
    """The text read as JSON, where the request has a schema; it fits the schema."""
    failure: Failure | None = None
    """None where the reply can be used."""
    log_probabilities: tuple[TokenLogProbability, ...] | Absent = Absent(reason="not asked for")
    """One for each token of the text, or why there are none."""
    usage: Usage = Usage()
    """Tokens of all attempts together."""
    cost: float | None = None
    """US dollars of all attempts together, by the price table; None where no price is known."""
    finish: Literal["stop", "length"] = "stop"
    """End of the text: the model's own, or the token limit."""
    model: str = ""
    """The model that answered, as the provider names it."""
    ignored: tuple[str, ...] = ()
    """Fields of the request that the provider does not take."""
    discarded: tuple[str, ...] = ()
    """Texts of earlier attempts that did not fit the schema."""

    @classmethod
    def failed(cls, kind: FailureKind, detail: str) -> Reply:
        """Make the reply to a request that has none."""
        return cls(failure=Failure(kind=kind, detail=detail, text=detail))

    @property
    def ok(self) -> bool:
        """True if the reply can be used."""
        return self.failure is None


@runtime_checkable
class Client(Protocol):
    """A language model that answers requests: `LiveClient` over a provider, or `LocalClient`."""

    @property
    def model(self) -> str:
        """Name of the model."""
        ...

    def complete(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Reply]:
        """Return one reply for each request, in their order; a request that fails has a reply with a failure.

        Raises:
            ProviderError: nothing can be answered: a wrong key, no such model.
        """
        ...


def request_key(identity: Mapping[str, Any], request: Request) -> str:
    """Return the name of a request to one model: 32 hexadecimal digits of a hash over both contents.

    It is the key of the cache and the custom_id in batches, so that one answer serves both.
    """
    content = {"client": dict(identity), "request": request.to_dict()}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def count_failures(replies: Iterable[Reply]) -> dict[str, int]:
    """Count replies that failed, by kind."""
    return dict(Counter(reply.failure.kind for reply in replies if reply.failure is not None))
