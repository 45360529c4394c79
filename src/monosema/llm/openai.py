"""OpenAI's chat completions and Batch service, and servers with its protocol: vLLM, Ollama, llama.cpp, OpenRouter."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from typing import Any

from monosema.llm.adapter import (
    BatchProgress,
    ClientConfig,
    Credentials,
    PendingBatch,
    RejectedError,
    UnavailableError,
)
from monosema.llm.protocol import Absent, Alternative, Failure, Reply, Request, TokenLogProbability, Usage
from monosema.llm.structured import is_strict

_ENDPOINT = "/v1/chat/completions"
_LABEL = "monosema_batch"
_DAY = 86_400.0
# JSON has no minus infinity, which some servers send for a token that can't be.
_LEAST = -9999.0


class OpenAIAdapter:
    """See `Adapter`. A batch carries monosema's name of it as metadata, and its file carries it as file name."""

    max_requests = 50_000
    max_bytes = 190_000_000

    def __init__(self, config: ClientConfig) -> None:
        # The key of one vendor must never reach another server just because it is in the environment.
        variable = config.key_variable or ("OPENAI_API_KEY" if config.base_url is None else None)
        self.credentials = Credentials("openai", config, "https://api.openai.com/v1", variable)
        self._official, self._effort = config.base_url is None, config.effort
        self._no_log_probabilities: str | None = None

    def connect(self) -> Any:
        """Open a session."""
        return self.credentials.connect("OpenAI")

    def ask(self, session: Any, request: Request) -> Reply:
        """Ask at once. A model that refuses log-probabilities is asked without."""
        if request.log_probabilities and self._no_log_probabilities is None:
            try:
                return self._ask(session, request)
            except RejectedError as error:
                if "logprob" not in str(error).lower():
                    raise
                self._no_log_probabilities = str(error)
        reply = self._ask(session, request.replace(log_probabilities=0))
        if request.log_probabilities:
            absent = Absent(reason=f"the provider refuses them: {self._no_log_probabilities}")
            return reply.replace(log_probabilities=absent)
        return reply

    def _ask(self, session: Any, request: Request) -> Reply:
        once = session.with_options(max_retries=0)
        with self.credentials.translate():
            answer = once.chat.completions.create(**self.body(request))
            return self.reply(answer.to_dict() if hasattr(answer, "to_dict") else answer, request)

    def body(self, request: Request) -> dict[str, Any]:
        """Write a request in OpenAI's protocol."""
        limit = "max_completion_tokens" if self._official else "max_tokens"
        optional = {"temperature": request.temperature, "seed": request.seed, "reasoning_effort": self._effort}
        messages = [message.to_dict() for message in request.messages]
        body: dict[str, Any] = {"model": self.credentials.model, "messages": messages, limit: request.max_tokens}
        body |= {name: value for name, value in optional.items() if value is not None}
        if (schema := request.response_schema) is not None:
            form = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        if request.log_probabilities:
            body |= {"logprobs": True, "top_logprobs": request.log_probabilities}
        return body

    def reply(self, completion: Any, request: Request) -> Reply:
        """Read the reply in a completion. Raises UnavailableError where there is none."""
        try:
            choice = completion["choices"][0]
            message, usage = choice["message"], completion.get("usage") or {}
            refusal, finish = message.get("refusal"), choice.get("finish_reason")
            read, written = (usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens"))
            reply = Reply(
                text=self.credentials.redact(message.get("content") or ""),
                usage=Usage(input_tokens=read, output_tokens=written),
                finish="length" if finish == "length" else "stop",
                model=completion.get("model") or self.credentials.model,
                log_probabilities=_log_probabilities(choice.get("logprobs"), request),
            )
        except (KeyError, IndexError, TypeError, AttributeError):
            # OpenRouter reports failures of those behind it as answers without choices.
            said = completion.get("error") if isinstance(completion, dict) else completion
            raise self.credentials.no_message(said) from None
        if refusal or finish == "content_filter":
            detail = "the model declined" if refusal else "the provider's filter stopped the answer"
            return reply.replace(failure=Failure(kind="refusal", detail=detail, text=refusal or reply.text))
        return reply

    def line(self, custom_id: str, request: Request) -> dict[str, Any]:
        """Write a line of the file that is uploaded."""
        return {"custom_id": custom_id, "method": "POST", "url": _ENDPOINT, "body": self.body(request)}

    def find(self, session: Any, batch: PendingBatch) -> str | None:
        """Look through the account's batches, back to a day before the first attempt."""
        with self.credentials.translate():
            for other in session.batches.list(limit=100):
                if (other.metadata or {}).get(_LABEL) == batch.id:
                    return str(other.id)
                if batch.attempted is not None and other.created_at < batch.attempted - _DAY:
                    break
            return None

    def prepare(self, session: Any, batch: PendingBatch, lines: Iterator[dict[str, Any]]) -> str:
        """Upload the file, unless an attempt that was cut off did; return its id."""
        name = f"{batch.id}.jsonl"
        with self.credentials.translate(), tempfile.TemporaryFile() as file:
            if batch.attempted is not None:
                for other in session.files.list(purpose="batch", order="desc", limit=1000):
                    if other.filename == name:
                        return str(other.id)
                    if other.created_at < batch.attempted - _DAY:
                        break
            for line in lines:
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            file.seek(0)
            return str(session.files.create(file=(name, file), purpose="batch").id)

    def submit(self, session: Any, batch: PendingBatch, prepared: str) -> str:
        """Make a batch of the file."""
        once, label = session.with_options(max_retries=0), {_LABEL: batch.id}
        with self.credentials.translate():
            made = once.batches.create(
                input_file_id=prepared, endpoint=_ENDPOINT, completion_window="24h", metadata=label
            )
            return str(made.id)

    def poll(self, session: Any, provider_id: str) -> BatchProgress:
        """Return the state of a batch."""
        with self.credentials.translate():
            batch = session.batches.retrieve(provider_id).to_dict()
        counts = batch.get("request_counts") or {}
        problems = [str(problem.get("message")) for problem in (batch.get("errors") or {}).get("data") or []]
        ended = batch["status"] in ("completed", "expired", "cancelled", "failed")
        results = (counts.get("completed") or 0) + (counts.get("failed") or 0)
        return BatchProgress(batch["status"] if ended else "working", counts, results, "; ".join(problems))

    def results(self, session: Any, provider_id: str) -> Iterator[tuple[str, Any]]:
        """Yield the lines of both files of results, that of answers and that of errors."""
        with self.credentials.translate():
            batch = session.batches.retrieve(provider_id)
            for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
                with session.files.with_streaming_response.content(file_id) as response:
                    for line in response.iter_lines():
                        if line.strip():
                            result = json.loads(self.credentials.redact(line))
                            yield str(result["custom_id"]), result

    def read(self, result: Any, request: Request) -> Reply | Failure:
        """Read the completion in a line, or the error."""
        response = result.get("response") or {}
        status = response.get("status_code") or 0
        if status == 200:
            try:
                return self.reply(response.get("body"), request)
            except UnavailableError as error:
                return Failure(kind="malformed", detail=str(error), text=json.dumps(response.get("body")))
        problem = result.get("error") or (response.get("body") or {}).get("error") or {}
        code, said = str(problem.get("code")), str(problem.get("message") or problem)
        if code == "batch_expired":
            return Failure(kind="expired", detail=said)
        if code in ("batch_cancelled", "batch_canceled"):
            return Failure(kind="cancelled", detail=said)
        passing = status in (408, 409, 429) or status >= 500
        return Failure(kind="unavailable" if passing else "rejected", detail=said, text=json.dumps(result))


def _log_probabilities(said: Any, request: Request) -> tuple[TokenLogProbability, ...] | Absent:
    if not request.log_probabilities:
        return Absent(reason="not asked for")
    if not said or said.get("content") is None:
        return Absent(reason="asked for, but the provider gave none")

    def alternative(token: Any) -> Alternative:
        return Alternative(token=token["token"], log_probability=max(token["logprob"], _LEAST))

    return tuple(
        TokenLogProbability(
            **alternative(token).to_dict(), alternatives=tuple(map(alternative, token.get("top_logprobs") or ()))
        )
        for token in said["content"]
    )
