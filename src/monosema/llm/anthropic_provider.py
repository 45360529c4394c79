"""Anthropic's messages."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

from pydantic import Field

from monosema.core import Config
from monosema.llm.account import Account, key_from
from monosema.llm.anthropic_batches import AnthropicBatches
from monosema.llm.calls import RetryPolicy, TransientError
from monosema.llm.protocol import Absent, Failure, Reply, Request, Usage

_VENDOR = "https://api.anthropic.com"
# Above this, the library refuses to wait for a reply in one piece.
_STREAM_ABOVE = 16_000


class AnthropicConfig(Config):
    """Which model on which server."""

    model: str = Field(min_length=1)
    """Name of the model, as the server knows it."""
    base_url: str | None = None
    """Where the server is; None is Anthropic itself."""
    key_variable: str = "ANTHROPIC_API_KEY"
    """Environment variable that holds the key."""
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    """How much the model reasons before it answers; None leaves it to the server."""
    stream: bool = False
    """Receive replies in pieces, for connections that break during long silences. Long replies always are."""


class AnthropicProvider:
    """A model behind Anthropic's protocol.

    It takes neither a temperature nor a seed, and gives no log-probabilities; replies say so.

    Args:
        config: which.

    Raises:
        MissingExtraError: the library `anthropic` is not installed.
        ConfigError: the key's environment variable is empty.
    """

    def __init__(self, config: AnthropicConfig) -> None:
        self.config = config
        key = key_from(config.key_variable)
        self.account = Account("anthropic", config.model, config.base_url or _VENDOR, key)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.account.model

    @property
    def identity(self) -> dict[str, Any]:
        """Server, model and effort."""
        return self.account.identity(self.config.effort)

    @contextlib.asynccontextmanager
    async def conversation(self, patience: RetryPolicy) -> AsyncIterator[AnthropicConversation]:
        """Open a connection for live requests."""
        async with self.account.sdk.AsyncAnthropic(**self.account.settings(patience)) as client:
            yield AnthropicConversation(self, client)

    @contextlib.contextmanager
    def batch_service(self, patience: RetryPolicy) -> Iterator[AnthropicBatches]:
        """Open a connection to the Batch service."""
        with self.account.sdk.Anthropic(**self.account.settings(patience)) as client:
            yield AnthropicBatches(self, client)

    def body(self, request: Request) -> dict[str, Any]:
        """The request in Anthropic's protocol."""
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        turns = [message.to_dict() for message in request.messages if message.role != "system"]
        body: dict[str, Any] = {"model": self.model, "max_tokens": request.max_tokens, "messages": turns}
        if system:
            body["system"] = system
        output: dict[str, Any] = {}
        if request.response_schema is not None:
            # What the service can't enforce (lengths, ranges) goes into descriptions; it is checked here all the same.
            schema = self.account.sdk.transform_schema(request.response_schema)
            output["format"] = {"type": "json_schema", "schema": schema}
        if self.config.effort is not None:
            output["effort"] = self.config.effort
        if output:
            body["output_config"] = output
        return body

    def reply(self, answer: Any, request: Request) -> Reply:
        """The reply in a message.

        Raises:
            TransientError: there is no answer in it.
        """
        try:
            blocks = [block for block in answer["content"] if block.get("type") == "text"]
            text = self.account.redacted("".join(block["text"] for block in blocks))
            reason, usage = answer["stop_reason"], answer["usage"]
            read = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
            counted = Usage(
                input_tokens=sum(usage.get(name) or 0 for name in read), output_tokens=usage.get("output_tokens") or 0
            )
        except (KeyError, TypeError, AttributeError):
            raise TransientError(
                self.account.redacted(f"the provider's answer has no message in it: {answer}"), unbilled=False
            ) from None
        if reason is None:
            raise TransientError("the stream broke off", unbilled=False)
        wanted = request.log_probabilities > 0
        reply = Reply(
            text=text,
            usage=counted,
            finish="length" if reason in ("max_tokens", "model_context_window_exceeded") else "stop",
            model=answer.get("model") or self.model,
            log_probabilities=Absent(
                reason="Anthropic gives no log-probabilities" if wanted else "not asked for",
            ),
            ignored=tuple(name for name in ("temperature", "seed") if getattr(request, name) is not None),
        )
        if reason == "refusal":
            details = answer.get("stop_details") or {}
            detail = details.get("explanation") or "the model declined"
            return reply.replace(failure=Failure(kind="refusal", detail=detail, text=text))
        return reply


class AnthropicConversation:
    """Live requests over one connection."""

    def __init__(self, provider: AnthropicProvider, client: Any) -> None:
        self.provider, self.client = provider, client

    async def ask(self, request: Request) -> Reply:
        """One attempt."""
        body = self.provider.body(request)
        with self.provider.account.translating():
            if self.provider.config.stream or request.max_tokens > _STREAM_ABOVE:
                async with self.client.messages.stream(**body) as stream:
                    answer = (await stream.get_final_message()).to_dict()
            else:
                message = await self.client.messages.create(**body)
                answer = message.to_dict() if hasattr(message, "to_dict") else message
        return self.provider.reply(answer, request)
