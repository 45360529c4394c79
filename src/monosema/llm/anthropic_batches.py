"""Anthropic's Message Batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from monosema.llm.calls import NotFoundError, TransientError
from monosema.llm.protocol import Failure, Reply, Request
from monosema.llm.provider import BatchProgress, Found, PendingBatch, Wire

# How far the clocks of the two sides may be apart.
_CLOCKS = 3600.0


class AnthropicBatches:
    """See `BatchService`.

    A batch carries nothing but its requests, and what they are is seen only when it has ended. Whether a batch of
    unknown origin is ours is told by the custom_ids of its results, which are hashes of content.
    """

    most_requests = 100_000
    most_bytes = 240_000_000

    def __init__(self, wire: Wire, client: Any) -> None:
        self._wire, self._client = wire, client

    def line(self, custom_id: str, request: Request) -> dict[str, Any]:
        """An entry of the list of requests."""
        return {"custom_id": custom_id, "params": self._wire.body(request)}

    def find(self, batch: PendingBatch) -> Found:
        """Look through the account's batches, back to the first attempt.

        One of equal size that still works can't be told from ours: it is uncertain until it ends.
        """
        return self._call(lambda: self._find(batch))

    def _find(self, batch: PendingBatch) -> Found:
        uncertain = []
        for other in self._client.messages.batches.list(limit=100):
            if batch.attempted is not None and other.created_at.timestamp() < batch.attempted - _CLOCKS:
                break
            size = sum(value for value in other.request_counts.to_dict().values() if isinstance(value, int))
            if other.id in batch.taken or size != batch.size:
                continue
            if other.processing_status != "ended":
                uncertain.append(other.id)
            elif other.results_url is not None:
                first = next(iter(self._client.messages.batches.results(other.id)), None)
                if first is not None and first.custom_id in batch.owned:
                    return Found(other.id)
        return Found(uncertain=tuple(uncertain))

    def upload(self, batch: PendingBatch, lines: Iterator[dict[str, Any]]) -> str | None:
        """Nothing: requests go with the batch."""
        return None

    def submit(self, batch: PendingBatch, lines: Iterator[dict[str, Any]]) -> str:
        """Send all requests as one batch."""
        return self._call(lambda: str(self._client.messages.batches.create(requests=list(lines)).id))

    def poll(self, provider_id: str) -> BatchProgress:
        """How far it is."""
        try:
            batch = self._call(lambda: self._client.messages.batches.retrieve(provider_id))
        except NotFoundError as error:
            return BatchProgress("lost", {}, 0, str(error))
        counts = {name: value for name, value in batch.request_counts.to_dict().items() if isinstance(value, int)}
        if batch.processing_status != "ended":
            return BatchProgress("working", counts, 0)
        if batch.results_url is None:
            return BatchProgress("lost", counts, 0, "the provider has deleted its results")
        return BatchProgress("completed", counts, sum(counts.values()))

    def results(self, provider_id: str) -> Iterator[tuple[str, Any]]:
        """The lines of the file of results."""
        with self._wire.account.translating():
            for line in self._client.messages.batches.results(provider_id):
                result = json.loads(self._wire.account.redacted(line.to_json(indent=None)))
                yield str(result["custom_id"]), result["result"]

    def read(self, result: Any, request: Request) -> Reply | Failure:
        """The message in a line, or the error."""
        kind = result.get("type")
        if kind == "succeeded":
            try:
                return self._wire.reply(result.get("message"), request)
            except TransientError as error:
                return Failure(kind="malformed", detail=str(error), text=json.dumps(result))
        if kind in ("expired", "canceled"):
            ended: Any = "expired" if kind == "expired" else "cancelled"
            return Failure(kind=ended, detail=f"the batch was {ended} before this request was answered")
        problem = (result.get("error") or {}).get("error") or {}
        passing = problem.get("type") in ("api_error", "overloaded_error", "rate_limit_error", "timeout_error")
        detail = str(problem.get("message") or problem or result)
        return Failure(kind="unavailable" if passing else "rejected", detail=detail, text=json.dumps(result))

    def _call(self, call: Callable[[], Any]) -> Any:
        with self._wire.account.translating():
            return call()
