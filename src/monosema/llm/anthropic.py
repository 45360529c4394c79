"""Anthropic's messages and Message Batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from monosema.llm.adapter import (
    BatchProgress,
    ClientConfig,
    Credentials,
    PendingBatch,
    UnavailableError,
    UncertainError,
)
from monosema.llm.protocol import Absent, Failure, Reply, Request, Usage

# Above this, the library refuses to wait for a reply in one piece.
_STREAM_ABOVE = 16_000
# Largest difference, in seconds, between this machine's clock and the provider's.
_CLOCKS = 3600.0


class AnthropicAdapter:
    """See `Adapter`. The service takes neither a temperature nor a seed, and gives no log-probabilities.

    A batch carries nothing but its requests, which show only when it has ended: whether a batch of unknown origin is
    ours is told by the custom_ids of its results, which are hashes of content.
    """

    max_requests = 100_000
    max_bytes = 240_000_000

    def __init__(self, config: ClientConfig) -> None:
        variable = config.key_variable or "ANTHROPIC_API_KEY"
        self.credentials = Credentials("anthropic", config, "https://api.anthropic.com", variable)
        self._effort = config.effort

    def connect(self) -> Any:
        """Open a session."""
        return self.credentials.connect("Anthropic")

    def ask(self, session: Any, request: Request) -> Reply:
        """Ask at once."""
        body = self.body(request)
        once = session.with_options(max_retries=0)
        with self.credentials.translate():
            if request.max_tokens > _STREAM_ABOVE:
                with once.messages.stream(**body) as stream:
                    message = stream.get_final_message()
            else:
                message = once.messages.create(**body)
            return self.reply(message.to_dict() if hasattr(message, "to_dict") else message, request)

    def body(self, request: Request) -> dict[str, Any]:
        """Write a request in Anthropic's protocol."""
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        turns = [message.to_dict() for message in request.messages if message.role != "system"]
        body: dict[str, Any] = {"model": self.credentials.model, "max_tokens": request.max_tokens, "messages": turns}
        output: dict[str, Any] = {}
        if request.response_schema is not None:
            # What the service can't enforce (lengths, ranges) goes into descriptions; it is checked here all the same.
            schema = self.credentials.sdk.transform_schema(request.response_schema)
            output["format"] = {"type": "json_schema", "schema": schema}
        if self._effort is not None:
            output["effort"] = self._effort
        return body | ({"system": system} if system else {}) | ({"output_config": output} if output else {})

    def reply(self, answer: Any, request: Request) -> Reply:
        """Read the reply in a message. Raises UnavailableError where there is none."""
        try:
            text = "".join(block["text"] for block in answer["content"] if block.get("type") == "text")
            reason, usage = answer["stop_reason"], answer["usage"]
            read = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
            counted = Usage(
                input_tokens=sum(usage.get(name) or 0 for name in read), output_tokens=usage.get("output_tokens") or 0
            )
        except (KeyError, TypeError, AttributeError):
            raise self.credentials.no_message(answer) from None
        if reason is None:
            raise UnavailableError("the stream broke off", billed=True)
        absent = "Anthropic gives no log-probabilities" if request.log_probabilities else "not asked for"
        reply = Reply(
            text=self.credentials.redact(text),
            usage=counted,
            finish="length" if reason in ("max_tokens", "model_context_window_exceeded") else "stop",
            model=answer.get("model") or self.credentials.model,
            log_probabilities=Absent(reason=absent),
            ignored=tuple(name for name in ("temperature", "seed") if getattr(request, name) is not None),
        )
        if reason == "refusal":
            detail = (answer.get("stop_details") or {}).get("explanation") or "the model declined"
            return reply.replace(failure=Failure(kind="refusal", detail=detail, text=reply.text))
        return reply

    def line(self, custom_id: str, request: Request) -> dict[str, Any]:
        """Write an entry of the list of requests."""
        return {"custom_id": custom_id, "params": self.body(request)}

    def find(self, session: Any, batch: PendingBatch) -> str | None:
        """Look through the account's batches, back to the first attempt.

        One of equal size that still works can't be told from ours: it is uncertain until it ends.
        """
        uncertain = []
        with self.credentials.translate():
            for other in session.messages.batches.list(limit=100):
                if batch.attempted is not None and other.created_at.timestamp() < batch.attempted - _CLOCKS:
                    break
                size = sum(_counts(other).values())
                if other.id in batch.taken or size != len(batch.owned):
                    continue
                if other.processing_status != "ended":
                    uncertain.append(other.id)
                elif other.results_url is not None:
                    first = next(iter(session.messages.batches.results(other.id)), None)
                    if first is not None and first.custom_id in batch.owned:
                        return str(other.id)
        if uncertain:
            raise UncertainError(", ".join(uncertain))
        return None

    def prepare(self, session: Any, batch: PendingBatch, lines: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        """Collect the requests, which go with the batch."""
        return list(lines)

    def submit(self, session: Any, batch: PendingBatch, prepared: list[dict[str, Any]]) -> str:
        """Send all requests as one batch."""
        once = session.with_options(max_retries=0)
        with self.credentials.translate():
            return str(once.messages.batches.create(requests=prepared).id)

    def poll(self, session: Any, provider_id: str) -> BatchProgress:
        """Return the state of a batch."""
        with self.credentials.translate():
            batch = session.messages.batches.retrieve(provider_id)
        counts = _counts(batch)
        if batch.processing_status != "ended":
            return BatchProgress("working", counts, 0)
        if batch.results_url is None:
            return BatchProgress("lost", counts, 0, "the provider has deleted its results")
        return BatchProgress("completed", counts, sum(counts.values()))

    def results(self, session: Any, provider_id: str) -> Iterator[tuple[str, Any]]:
        """Yield the lines of the file of results."""
        with self.credentials.translate():
            for line in session.messages.batches.results(provider_id):
                result = json.loads(self.credentials.redact(line.to_json(indent=None)))
                yield str(result["custom_id"]), result["result"]

    def read(self, result: Any, request: Request) -> Reply | Failure:
        """Read the message in a line, or the error."""
        kind = result.get("type")
        if kind == "succeeded":
            try:
                return self.reply(result.get("message"), request)
            except UnavailableError as error:
                return Failure(kind="malformed", detail=str(error), text=json.dumps(result))
        if kind in ("expired", "canceled"):
            ended = "expired" if kind == "expired" else "cancelled"
            return Failure(kind=ended, detail=f"the batch was {ended} before this request was answered")
        problem = (result.get("error") or {}).get("error") or {}
        passing = problem.get("type") in ("api_error", "overloaded_error", "rate_limit_error", "timeout_error")
        detail = str(problem.get("message") or problem or result)
        return Failure(kind="unavailable" if passing else "rejected", detail=detail, text=json.dumps(result))


def _counts(batch: Any) -> dict[str, int]:
    return {name: value for name, value in batch.request_counts.to_dict().items() if isinstance(value, int)}
