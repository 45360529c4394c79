"""OpenAI's chat completions, and every server that speaks them: vLLM, Ollama, llama.cpp, OpenRouter."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

from pydantic import Field

from monosema.core import Config
from monosema.llm.account import Account, key_from
from monosema.llm.calls import RejectedError, RetryPolicy, TransientError
from monosema.llm.openai_batches import OpenAIBatches
from monosema.llm.protocol import (
    Absent,
    Alternative,
    Failure,
    Reply,
    Request,
    TokenLogProbability,
    Usage,
)
from monosema.llm.structured import is_strict

_VENDOR = "https://api.openai.com/v1"
# JSON has no minus infinity, which some servers send for a token that can't be.
_LEAST = -9999.0


class OpenAIConfig(Config):
    """Which model on which server."""

    model: str = Field(min_length=1)
    """Name of the model, as the server knows it."""
    base_url: str | None = None
    """Where the server is, such as http://localhost:8000/v1; None is OpenAI itself."""
    key_variable: str | None = None
    """Environment variable that holds the key. None: OPENAI_API_KEY for OpenAI itself, no key for other servers."""
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    """How much the model reasons before it answers; None leaves it to the server."""
    token_limit: Literal["max_completion_tokens", "max_tokens"] | None = None
    """Name of the field with the token limit. None: max_completion_tokens for OpenAI itself, else max_tokens."""
    stream: bool = False
    """Receive replies in pieces, for servers whose connections break during long silences."""


class OpenAIProvider:
    """A model behind OpenAI's protocol.

    Args:
        config: which.

    Raises:
        MissingExtraError: the library `openai` is not installed.
        ConfigError: the key's environment variable is empty.
    """

    def __init__(self, config: OpenAIConfig) -> None:
        self.config = config
        variable = config.key_variable or ("OPENAI_API_KEY" if config.base_url is None else None)
        # The key of one vendor must never reach another server just because it is in the environment.
        key = key_from(variable) if variable else None
        self.account = Account("openai", config.model, config.base_url or _VENDOR, key)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.account.model

    @property
    def identity(self) -> dict[str, Any]:
        """Server, model and effort."""
        return self.account.identity(self.config.effort)

    @contextlib.asynccontextmanager
    async def conversation(self, patience: RetryPolicy) -> AsyncIterator[OpenAIConversation]:
        """Open a connection for live requests."""
        async with self.account.sdk.AsyncOpenAI(**self.account.settings(patience)) as client:
            yield OpenAIConversation(self, client)

    @contextlib.contextmanager
    def batch_service(self, patience: RetryPolicy) -> Iterator[OpenAIBatches]:
        """Open a connection to the Batch service."""
        with self.account.sdk.OpenAI(**self.account.settings(patience)) as client:
            yield OpenAIBatches(self, client)

    def body(self, request: Request) -> dict[str, Any]:
        """The request in OpenAI's protocol."""
        limit = self.config.token_limit or ("max_completion_tokens" if self.config.base_url is None else "max_tokens")
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [message.to_dict() for message in request.messages],
            limit: request.max_tokens,
        }
        optional = {
            "temperature": request.temperature,
            "seed": request.seed,
            "reasoning_effort": self.config.effort,
        }
        body |= {name: value for name, value in optional.items() if value is not None}
        if request.response_schema is not None:
            schema = request.response_schema
            form = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        if request.log_probabilities:
            body |= {"logprobs": True, "top_logprobs": request.log_probabilities}
        return body

    def reply(self, completion: Any, request: Request) -> Reply:
        """The reply in a completion.

        Raises:
            TransientError: there is no answer in it.
        """
        try:
            choice = completion["choices"][0]
            message = choice["message"]
            usage = completion.get("usage") or {}
            reply = Reply(
                text=self.account.redacted(message.get("content") or ""),
                usage=Usage(
                    input_tokens=usage.get("prompt_tokens") or 0, output_tokens=usage.get("completion_tokens") or 0
                ),
                finish="length" if choice.get("finish_reason") == "length" else "stop",
                model=completion.get("model") or self.model,
                log_probabilities=_log_probabilities(choice.get("logprobs"), request),
            )
        except (KeyError, IndexError, TypeError, AttributeError):
            # OpenRouter reports failures of those behind it as answers without choices.
            said = completion.get("error") if isinstance(completion, dict) else completion
            raise TransientError(
                self.account.redacted(f"the provider's answer has no message in it: {said}"), unbilled=False
            ) from None
        refusal = message.get("refusal")
        if refusal or choice.get("finish_reason") == "content_filter":
            detail = "the model declined" if refusal else "the provider's filter stopped the answer"
            return reply.replace(failure=Failure(kind="refusal", detail=detail, text=refusal or reply.text))
        return reply


class OpenAIConversation:
    """Live requests over one connection."""

    def __init__(self, provider: OpenAIProvider, client: Any) -> None:
        self.provider, self.client = provider, client
        self._withdrawn: str | None = None

    async def ask(self, request: Request) -> Reply:
        """One attempt. Where the model gives no log-probabilities, the request is sent without asking for them."""
        wants = request.log_probabilities > 0
        if wants and self._withdrawn is None:
            try:
                return await self._ask(request)
            except RejectedError as error:
                if "logprob" not in str(error).lower():
                    raise
                self._withdrawn = str(error)
        reply = await self._ask(request.replace(log_probabilities=0))
        if wants:
            return reply.replace(log_probabilities=Absent(reason=f"the provider refuses them: {self._withdrawn}"))
        return reply

    async def _ask(self, request: Request) -> Reply:
        body = self.provider.body(request)
        with self.provider.account.translating():
            if self.provider.config.stream:
                completion = await self._streamed(body)
            else:
                answer = await self.client.chat.completions.create(**body)
                completion = answer.to_dict() if hasattr(answer, "to_dict") else answer
        return self.provider.reply(completion, request)

    async def _streamed(self, body: dict[str, Any]) -> dict[str, Any]:
        """Put the pieces of a stream together as one completion. A stream without its end is no answer."""
        text, refusal, tokens, finish = "", "", list[Any](), None
        whole: dict[str, Any] = {"model": None, "usage": None}
        stream = await self.client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True})
        async with stream:
            async for chunk in stream:
                piece = chunk.to_dict()
                whole |= {name: piece[name] for name in whole if piece.get(name)}
                for choice in piece.get("choices") or []:
                    delta = choice.get("delta") or {}
                    text, refusal = text + (delta.get("content") or ""), refusal + (delta.get("refusal") or "")
                    tokens += (choice.get("logprobs") or {}).get("content") or []
                    finish = choice.get("finish_reason") or finish
        if finish is None:
            raise TransientError("the stream broke off", unbilled=False)
        message = {"content": text, "refusal": refusal or None}
        choice = {"message": message, "finish_reason": finish, "logprobs": {"content": tokens} if tokens else None}
        return {**whole, "choices": [choice]}


def _log_probabilities(said: Any, request: Request) -> tuple[TokenLogProbability, ...] | Absent:
    if not request.log_probabilities:
        return Absent(reason="not asked for")
    if not said or said.get("content") is None:
        return Absent(reason="asked for, but the provider gave none")
    return tuple(
        TokenLogProbability(
            token=token["token"],
            log_probability=max(token["logprob"], _LEAST),
            alternatives=tuple(
                Alternative(token=other["token"], log_probability=max(other["logprob"], _LEAST))
                for other in token.get("top_logprobs") or ()
            ),
        )
        for token in said["content"]
    )
