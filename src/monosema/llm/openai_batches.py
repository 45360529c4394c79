"""OpenAI's Batch service: a file of requests goes up, a batch is made of it, files of results come down."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from monosema.llm.calls import NotFoundError, TransientError
from monosema.llm.protocol import Failure, Reply, Request
from monosema.llm.provider import BatchProgress, Found, PendingBatch, Wire

_ENDPOINT = "/v1/chat/completions"
_LABEL = "monosema_batch"
_DAY = 86_400.0
_STATES = {"completed": "completed", "expired": "expired", "cancelled": "cancelled", "failed": "failed"}


class OpenAIBatches:
    """See `BatchService`. A batch carries monosema's name of it as metadata, and its file carries it as file name."""

    most_requests = 50_000
    most_bytes = 190_000_000

    def __init__(self, wire: Wire, client: Any) -> None:
        self._wire, self._client = wire, client

    def line(self, custom_id: str, request: Request) -> dict[str, Any]:
        """A line of the file that goes up."""
        return {"custom_id": custom_id, "method": "POST", "url": _ENDPOINT, "body": self._wire.body(request)}

    def find(self, batch: PendingBatch) -> Found:
        """Look through the account's batches, back to a day before the first attempt."""
        return self._call(lambda: self._find(batch))

    def _find(self, batch: PendingBatch) -> Found:
        for other in self._client.batches.list(limit=100):
            if (other.metadata or {}).get(_LABEL) == batch.id:
                return Found(other.id)
            if batch.attempted is not None and other.created_at < batch.attempted - _DAY:
                break
        return Found()

    def upload(self, batch: PendingBatch, lines: Iterator[dict[str, Any]]) -> str | None:
        """Send the file up, unless it is there from an attempt that was cut off."""
        name = f"{batch.id}.jsonl"
        if batch.attempted is not None:
            present = self._call(lambda: self._find_file(name, batch.attempted or 0.0))
            if present is not None:
                return present
        with tempfile.TemporaryFile() as file:
            for line in lines:
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            file.seek(0)
            return self._call(lambda: str(self._client.files.create(file=(name, file), purpose="batch").id))

    def _find_file(self, name: str, attempted: float) -> str | None:
        for file in self._client.files.list(purpose="batch", order="desc", limit=1000):
            if file.filename == name:
                return str(file.id)
            if file.created_at < attempted - _DAY:
                break
        return None

    def submit(self, batch: PendingBatch, lines: Iterator[dict[str, Any]]) -> str:
        """Make a batch of the file."""
        return self._call(
            lambda: str(
                self._client.batches.create(
                    input_file_id=batch.file_id,
                    endpoint=_ENDPOINT,
                    completion_window="24h",
                    metadata={_LABEL: batch.id},
                ).id
            )
        )

    def poll(self, provider_id: str) -> BatchProgress:
        """How far it is."""
        try:
            batch = self._call(lambda: self._client.batches.retrieve(provider_id).to_dict())
        except NotFoundError as error:
            return BatchProgress("lost", {}, 0, str(error))
        counts = batch.get("request_counts") or {}
        problems = [str(problem.get("message")) for problem in (batch.get("errors") or {}).get("data") or []]
        state: Any = _STATES.get(batch["status"], "working")
        results = (counts.get("completed") or 0) + (counts.get("failed") or 0)
        return BatchProgress(state, counts, results, "; ".join(problems))

    def results(self, provider_id: str) -> Iterator[tuple[str, Any]]:
        """The lines of both files of results, that of answers and that of errors."""
        batch = self._call(lambda: self._client.batches.retrieve(provider_id))
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is not None:
                yield from self._lines(file_id)

    def _lines(self, file_id: str) -> Iterator[tuple[str, Any]]:
        with (
            self._wire.account.translating(),
            self._client.files.with_streaming_response.content(file_id) as response,
        ):
            for line in response.iter_lines():
                if line.strip():
                    result = json.loads(self._wire.account.redacted(line))
                    yield str(result["custom_id"]), result

    def read(self, result: Any, request: Request) -> Reply | Failure:
        """The completion in a line, or the error."""
        response = result.get("response") or {}
        if response.get("status_code") == 200:
            try:
                return self._wire.reply(response.get("body"), request)
            except TransientError as error:
                return Failure(kind="malformed", detail=str(error), text=json.dumps(response.get("body")))
        problem = result.get("error") or (response.get("body") or {}).get("error") or {}
        code, said = str(problem.get("code")), str(problem.get("message") or problem)
        if code == "batch_expired":
            return Failure(kind="expired", detail=said)
        if code in ("batch_cancelled", "batch_canceled"):
            return Failure(kind="cancelled", detail=said)
        status = response.get("status_code") or 0
        passing = status in (408, 409, 429) or status >= 500
        return Failure(kind="unavailable" if passing else "rejected", detail=said, text=json.dumps(result))

    def _call(self, call: Callable[[], Any]) -> Any:
        with self._wire.account.translating():
            return call()
