"""Requests answered within a day, at a discount: send, status, retrieve, each of which survives a kill at any point."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from monosema.core import ProviderError, digest
from monosema.llm.adapter import (
    Adapter,
    BatchProgress,
    ClientConfig,
    NotFoundError,
    PendingBatch,
    RejectedError,
    UnavailableError,
    UncertainError,
    pause,
)
from monosema.llm.ledger import OPEN, Entry, Ledger
from monosema.llm.prices import CostEstimate, estimate_cost, find_price
from monosema.llm.protocol import Failure, Reply, Request, request_key
from monosema.llm.store import Store

_CHUNK = 100


@dataclass(frozen=True)
class Sent:
    """Result of `Batches.send`.

    Attributes:
        sent: number of requests that were newly written down to be sent.
        answered: number of requests that had an answer.
        waiting: number of requests that were in a batch already.
        batches: all batches that are under way now.
    """

    sent: int
    answered: int
    waiting: int
    batches: list[Entry]


@dataclass(frozen=True)
class Retrieved:
    """Result of `Batches.retrieve`.

    Attributes:
        retrieved: number of batches that were retrieved now.
        results: number of results that came with them.
        missing: number of requests without a result: expired, cancelled, or lost.
        open: number of batches that are still under way.
    """

    retrieved: int
    results: int
    missing: int
    open: int


class Batches:
    """A vendor's Batch service, with a ledger on disk.

    What is to be sent is written down, its cost set aside, before anything is sent. When a process was killed while it
    sent, the next one looks whether the provider has the batch before it sends it again. Results go into the store
    with their costs, one transaction each hundred; a second delivery changes nothing.

    Args:
        adapter: the vendor's protocol.
        store: ledger, answers and costs.
        config: cap, prices, patience.

    Raises:
        ConfigError: there is a cap, but no price for the model.
    """

    def __init__(self, adapter: Adapter, store: Store, config: ClientConfig) -> None:
        self.adapter, self.store, self.config = adapter, store, config
        self.model, self.identity = adapter.credentials.model, adapter.credentials.identity
        self.price = find_price(self.model, config.prices, config.max_cost)
        self.ledger = Ledger(store, digest(self.identity), self.model, self.price)

    def custom_id(self, request: Request) -> str:
        """Return the request's name in batches and in the store: a hash of its content."""
        return request_key(self.identity, request)

    def estimate(self, requests: Iterable[Request]) -> CostEstimate:
        """Estimate the cost of sending the requests; sends nothing."""
        unique = {self.custom_id(request): request for request in requests}
        new = [request for id, request in unique.items() if not self._answered(id) and not self.store.is_waiting(id)]
        return estimate_cost(new, self.price, answered=len(unique) - len(new), batch=True)

    def send(self, requests: Iterable[Request]) -> Sent:
        """Send what has no answer and is under way nowhere, and what an earlier process did not come to send.

        Raises:
            CostCapError: it might cost more than the cap leaves; nothing of it was sent.
            ProviderError: sending failed; what was sent is in the ledger, and the rest follows with the next call.
        """
        unique = {self.custom_id(request): request for request in requests}
        with self.store.asking(), self.adapter.connect() as session:
            answered = {id for id in unique if self._answered(id)}
            new = {id: unique[id] for id in unique if id not in answered and not self.store.is_waiting(id)}
            written = self.ledger.intend(self._groups(new), self.config.max_cost)
            for entry in self.ledger.entries("intended"):
                self._deliver(session, entry)
        return Sent(written, len(answered), len(unique) - len(answered) - written, self.ledger.entries(*OPEN))

    def status(self) -> list[Entry]:
        """Return the state of every batch; sends nothing."""
        with self.store.asking(), self.adapter.connect() as session:
            for entry in self.ledger.entries("intended"):
                pending = self.ledger.pending(entry.id)
                if pending.attempted is not None and self._must_be_sent(session, pending):
                    self.ledger.mark(entry.id, note="it did not arrive; send it again")
            for entry in self.ledger.entries("sent"):
                progress = self._poll(session, entry)
                state = "sent" if progress.state == "working" else "ended"
                ending = "" if progress.state in ("working", "completed") else progress.state
                note = f"{ending} {progress.note}".strip()
                self.ledger.mark(entry.id, state=state, counts=progress.counts, note=note)
        return self.ledger.entries()

    def retrieve(self) -> Retrieved:
        """Fetch the results of batches that have ended.

        Raises:
            ProviderError: a download failed; what had come is kept, and the rest follows with the next call.
        """
        retrieved = results = missing = 0
        with self.store.asking(), self.adapter.connect() as session:
            self.status()
            for entry in self.ledger.entries("ended"):
                progress = self._poll(session, entry)
                if progress.results:
                    self._fetch(session, entry, progress.results)
                lacking = self.ledger.finish(entry.id, "retrieved", _without_result(progress))
                retrieved, missing, results = retrieved + 1, missing + lacking, results + entry.size - lacking
        return Retrieved(retrieved, results, missing, len(self.ledger.entries(*OPEN)))

    def replies(self, requests: Iterable[Request] | None = None) -> Iterator[tuple[str, Reply]]:
        """Yield (custom_id, reply) for each of the requests, or for all requests of all batches; asks nobody.

        A request without an answer has a reply with a failure: ``pending`` while it waits, or how it failed.
        """
        ids = self.ledger.custom_ids() if requests is None else map(self.custom_id, requests)
        for custom_id in ids:
            yield custom_id, self.ledger.outcome(custom_id) or Reply.failed("pending", "it has not been sent")

    def _answered(self, custom_id: str) -> bool:
        return self.store.lookup(custom_id, self.config.retry_failed) is not None

    def _groups(self, requests: dict[str, Request]) -> list[dict[str, Request]]:
        """Split requests into batches that keep to the provider's limits."""
        groups: list[dict[str, Request]] = []
        size = 0
        for custom_id, request in requests.items():
            length = len(json.dumps(self.adapter.line(custom_id, request), ensure_ascii=False).encode()) + 2
            if not groups or len(groups[-1]) >= self.adapter.max_requests or size + length > self.adapter.max_bytes:
                groups.append({})
                size = 0
            groups[-1][custom_id] = request
            size += length
        return groups

    def _deliver(self, session: Any, entry: Entry) -> None:
        """Send one batch that is written down, unless the provider has it already."""
        for attempt in range(1, self.config.attempts + 1):
            pending = self.ledger.pending(entry.id)
            # After any failure the batch may be there all the same.
            if pending.attempted is not None and not self._must_be_sent(session, pending):
                return
            try:
                self._submit(session, pending)
                return
            except (RejectedError, NotFoundError) as error:
                self.ledger.mark(entry.id, note=str(error))
                self.ledger.finish(entry.id, "rejected", Failure(kind="rejected", detail=str(error)))
                raise ProviderError(f"The provider did not take a batch of {entry.size} requests: {error}") from None
            except UnavailableError as error:
                if attempt == self.config.attempts:
                    raise _in_vain(f"Sending a batch failed {attempt} times", error) from None
                pause(attempt, error)

    def _submit(self, session: Any, pending: PendingBatch) -> None:
        """Send a batch that the provider does not have. What is about to be done is written down first."""
        now = time.time()
        self.ledger.mark(pending.id, attempted=pending.attempted or now, tried=now)
        lines = (self.adapter.line(custom_id, request) for custom_id, request in self.ledger.requests(pending.id))
        prepared = self.adapter.prepare(session, pending, lines)
        self.ledger.mark(pending.id, tried=time.time())
        self._arrived(pending, self.adapter.submit(session, pending, prepared))

    def _arrived(self, pending: PendingBatch, provider_id: str) -> None:
        self.ledger.mark(pending.id, state="sent", provider_id=provider_id, note="")

    def _must_be_sent(self, session: Any, pending: PendingBatch) -> bool:
        """Return True if a batch that was attempted certainly did not arrive; if it did, write that down."""
        while True:
            looked = time.time()
            try:
                found = self.adapter.find(session, pending)
            except UncertainError as others:
                note = f"it may have arrived as {others}; that shows when those end, and it is not sent again before"
                self.ledger.mark(pending.id, note=note)
                return False
            except (UnavailableError, RejectedError) as error:
                raise _in_vain("Looking for a batch at the provider failed", error) from None
            if found is not None:
                self._arrived(pending, found)
                return False
            remaining = (pending.tried or 0.0) + self.config.listing_delay - looked
            if remaining <= 0:
                return True
            time.sleep(remaining)

    def _poll(self, session: Any, entry: Entry) -> BatchProgress:
        try:
            return self.adapter.poll(session, entry.provider_id or "")
        except NotFoundError as error:
            return BatchProgress("lost", {}, 0, str(error))
        except (UnavailableError, RejectedError) as error:
            raise _in_vain(f"Asking for the state of batch {entry.provider_id} failed", error) from None

    def _fetch(self, session: Any, entry: Entry, expected: int) -> None:
        """Keep all results of a batch; a download that breaks off is repeated, and what came before is kept."""
        problem: Exception | None = None
        for _ in range(self.config.attempts):
            seen: set[str] = set()
            chunk: list[tuple[str, Any]] = []
            try:
                for custom_id, result in self.adapter.results(session, entry.provider_id or ""):
                    seen.add(custom_id)
                    chunk.append((custom_id, result))
                    if len(chunk) >= _CHUNK:
                        self.ledger.record(entry.id, chunk, self.adapter.read)
                        chunk = []
                if len(seen) >= expected:
                    return
                problem = UnavailableError(f"only {len(seen)} of {expected} results came")
            except (UnavailableError, RejectedError) as error:
                problem = error
            finally:
                self.ledger.record(entry.id, chunk, self.adapter.read)
        raise _in_vain(f"Fetching the results of batch {entry.provider_id} failed", problem)


def _in_vain(step: str, last: Exception | None) -> ProviderError:
    return ProviderError(
        f"{step}, last with: {last}. Nothing is lost: check that the server can be reached, then run the same command "
        "again."
    )


def _without_result(progress: BatchProgress) -> Failure:
    """Return the failure of requests for which an ended batch has no result."""
    if progress.state in ("expired", "cancelled"):
        detail = f"the batch was {progress.state} before this request was answered"
        return Failure(kind="expired" if progress.state == "expired" else "cancelled", detail=detail)
    if progress.state == "failed":
        return Failure(kind="rejected", detail=f"the provider refused the batch: {progress.note}", text=progress.note)
    return Failure(kind="unavailable", detail=f"the provider has no result for this request. {progress.note}".strip())
