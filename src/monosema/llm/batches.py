"""Requests answered within a day, at a discount: send, status, retrieve, each of which survives a kill at any point."""

from __future__ import annotations

import functools
import json
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from monosema.core import Config, ProviderError, derive_seed, digest
from monosema.llm.calls import (
    NotFoundError,
    RejectedError,
    RetryPolicy,
    TransientError,
    in_vain,
    patiently,
)
from monosema.llm.ledger import Entry, Ledger
from monosema.llm.prices import CostEstimate, PriceTable, estimate_cost
from monosema.llm.protocol import Failure, Reply, Request, request_key
from monosema.llm.provider import BatchProgress, BatchService, PendingBatch, Provider
from monosema.llm.store import Store

_CHUNK = 100


class BatchesConfig(Config):
    """How batches are sent."""

    max_cost: float | None = Field(None, ge=0)
    """US dollars that may be spent in the store's folder altogether, earlier runs included; None without limit."""
    most_requests: int | None = Field(None, gt=0)
    """Most requests in one batch; None takes the provider's limit."""
    retry_failed: bool = False
    """Whether to send and pay again requests whose kept answer is a failure."""
    listing_delay: float = Field(15.0, ge=0)
    """Seconds after which a batch that has arrived must show in the provider's list; before, its absence there
    proves nothing."""
    patience: RetryPolicy = RetryPolicy()
    """How failing calls are repeated."""


@dataclass(frozen=True)
class Sent:
    """What `Batches.send` did.

    Attributes:
        requests: requests that were newly written down to be sent.
        answered: requests that had an answer.
        waiting: requests that were in a batch already, or are asked live by another process.
        batches: all batches that are under way now.
    """

    requests: int
    answered: int
    waiting: int
    batches: list[Entry]


@dataclass(frozen=True)
class Retrieved:
    """What `Batches.retrieve` did.

    Attributes:
        batches: batches that were retrieved now.
        results: results that came with them.
        missing: requests without a result: expired, cancelled, or lost.
        open: batches that are still under way.
    """

    batches: int
    results: int
    missing: int
    open: int


class Batches:
    """A provider's Batch service, with a ledger on disk.

    What is to be sent is written down, its cost set aside, before anything is sent. When a process was killed while it
    sent, the next one looks whether the provider has the batch before it sends it again. Results go into the store
    with their costs, one transaction each hundred; a second delivery changes nothing.

    Args:
        provider: who answers.
        store: where the ledger, answers and costs are kept.
        prices: the price table; the one that comes with monosema when None.
        config: how batches are sent.

    Raises:
        ConfigError: there is a cap, but no price for the model.
    """

    def __init__(
        self,
        provider: Provider,
        store: Store,
        prices: PriceTable | None = None,
        config: BatchesConfig | None = None,
    ) -> None:
        self.provider, self.store, self.config = provider, store, config or BatchesConfig()
        self.price = (prices or PriceTable.load()).under(self.config.max_cost, provider.model)
        self.ledger = Ledger(store, digest(provider.identity), provider.model, self.price)
        self._draw = random.Random(derive_seed(0, "jitter", time.time_ns()))

    def custom_id(self, request: Request) -> str:
        """The request's name in batches and in the store: a hash of its content."""
        return request_key(self.provider.identity, request)

    def estimate(self, requests: Iterable[Request]) -> CostEstimate:
        """What sending the requests would cost; sends nothing."""
        unique = {self.custom_id(request): request for request in requests}
        new = [request for id, request in unique.items() if not self._answered(id) and not self.ledger.is_waiting(id)]
        return estimate_cost(new, self.price, answered=len(unique) - len(new), batch=True)

    def send(self, requests: Iterable[Request]) -> Sent:
        """Send what has no answer and is under way nowhere, and what an earlier process did not come to send.

        Raises:
            CostCapError: it might cost more than the cap leaves; nothing of it was sent.
            ProviderError: sending failed; what was sent is in the ledger, and the rest follows with the next call.
        """
        unique = {self.custom_id(request): request for request in requests}
        answered = {id for id in unique if self._answered(id)}
        waiting = {id for id in unique if id not in answered and self.ledger.is_waiting(id)}
        new = {id: request for id, request in unique.items() if id not in answered and id not in waiting}
        with self.provider.batch_service(self.config.patience) as service:
            written = self.ledger.intend(self._groups(service, new), self.config.max_cost)
            for entry in self.ledger.entries(("intended",)):
                self._deliver(service, entry)
        waits = len(waiting) + len(new) - written
        return Sent(written, len(answered), waits, self.ledger.entries(("intended", "sent", "ended")))

    def status(self) -> list[Entry]:
        """How far every batch is; sends nothing."""
        with self.provider.batch_service(self.config.patience) as service:
            for entry in self.ledger.entries(("intended",)):
                pending = self.ledger.take(entry.id)
                if pending is not None and pending.attempted is not None and self._must_be_sent(service, pending):
                    self.ledger.mark(entry.id, note="it did not arrive; send it again")
            for entry in self.ledger.entries(("sent",)):
                self._poll(service, entry)
        return self.ledger.entries()

    def retrieve(self) -> Retrieved:
        """Fetch the results of batches that have ended.

        Raises:
            ProviderError: a download failed; what had come is kept, and the rest follows with the next call.
        """
        batches = results = missing = 0
        self.status()
        with self.provider.batch_service(self.config.patience) as service:
            for entry in self.ledger.entries(("ended",)):
                progress = self._progress(service, entry)
                if progress.results:
                    download = functools.partial(self._download, service, entry, progress.results)
                    what = f"fetching the results of batch {entry.provider_id}"
                    patiently(download, self.config.patience, self._draw, what)
                lacking = self.ledger.finish(entry.id, "retrieved", _without_result(progress))
                batches, missing, results = batches + 1, missing + lacking, results + entry.size - lacking
        return Retrieved(batches, results, missing, len(self.ledger.entries(("intended", "sent", "ended"))))

    def withdraw(self) -> int:
        """Give up batches that are written down but certainly not sent, as when a key turned out to be wrong.

        Returns:
            How many requests are free to be sent anew.
        """
        free = 0
        failure = Failure(kind="cancelled", detail="withdrawn before it was sent")
        with self.provider.batch_service(self.config.patience) as service:
            for entry in self.ledger.entries(("intended",)):
                pending = self.ledger.take(entry.id)
                if pending is not None and (pending.attempted is None or self._must_be_sent(service, pending)):
                    free += self.ledger.finish(entry.id, "rejected", failure)
        return free

    def replies(self, requests: Iterable[Request] | None = None) -> Iterator[tuple[str, Reply]]:
        """(custom_id, reply) for each of the requests, or for all requests of all batches; asks nobody.

        A request without an answer has a reply with a failure: ``pending`` while it waits, or how it failed.
        """
        ids = self.ledger.custom_ids() if requests is None else [self.custom_id(request) for request in requests]
        for custom_id in ids:
            reply = self.ledger.outcome(custom_id)
            if reply is None:
                reply = Reply(failure=Failure(kind="pending", detail="it has not been sent"))
            yield custom_id, reply

    def _answered(self, custom_id: str) -> bool:
        reply = self.store.lookup(custom_id)
        return reply is not None and (reply.ok or not self.config.retry_failed)

    def _groups(self, service: BatchService, requests: dict[str, Request]) -> list[dict[str, Request]]:
        """The requests in batches that keep to the provider's limits."""
        most = min(self.config.most_requests or service.most_requests, service.most_requests)
        groups: list[dict[str, Request]] = []
        size = 0
        for custom_id, request in requests.items():
            length = len(json.dumps(service.line(custom_id, request), ensure_ascii=False).encode()) + 2
            if not groups or len(groups[-1]) >= most or size + length > service.most_bytes:
                groups.append({})
                size = 0
            groups[-1][custom_id] = request
            size += length
        return groups

    def _lines(self, service: BatchService, batch: str) -> Iterator[dict[str, Any]]:
        return (service.line(custom_id, request) for custom_id, request in self.ledger.requests(batch))

    def _deliver(self, service: BatchService, entry: Entry) -> None:
        """Send one batch that is written down, unless the provider has it already or another process is at it."""
        attempt, doubt = 0, True
        while (pending := self.ledger.take(entry.id)) is not None:
            if doubt and pending.attempted is not None and not self._must_be_sent(service, pending):
                return
            try:
                self._submit(service, pending)
                return
            except (RejectedError, NotFoundError) as error:
                self.ledger.mark(entry.id, note=str(error))
                self.ledger.finish(entry.id, "rejected", Failure(kind="rejected", detail=str(error)))
                raise ProviderError(f"The provider did not take a batch of {entry.size} requests: {error}") from None
            except TransientError as error:
                # "Too many requests" is a sure no; after any other failure the batch may be there.
                doubt = not error.everyone
                wait = self.config.patience.wait(error, attempt, self._draw)
                if wait is None:
                    raise in_vain("sending a batch", attempt + 1, error) from None
            time.sleep(wait)
            attempt += 1

    def _submit(self, service: BatchService, pending: PendingBatch) -> None:
        """Send a batch that the provider does not have. What is about to be done is written down first."""
        now = time.time()
        self.ledger.mark(pending.id, attempted=pending.attempted or now, tried=now)
        if pending.file_id is None:
            file_id = service.upload(pending, self._lines(service, pending.id))
            pending = replace(pending, file_id=file_id)
            self.ledger.mark(pending.id, file_id=file_id, tried=time.time())
        provider_id = service.submit(pending, self._lines(service, pending.id))
        self.ledger.mark(pending.id, state="sent", provider_id=provider_id, note="")

    def _must_be_sent(self, service: BatchService, pending: PendingBatch) -> bool:
        """Whether a batch that was tried to be sent certainly did not arrive; if it did, write that down."""
        while True:
            looked = time.time()
            found = patiently(
                lambda: service.find(pending), self.config.patience, self._draw, "looking for a batch at the provider"
            )
            if found.provider_id is not None:
                self.ledger.mark(pending.id, state="sent", provider_id=found.provider_id, note="")
                return False
            if found.uncertain:
                others = ", ".join(found.uncertain)
                note = f"it may have arrived as {others}; that shows when those end, and it is not sent again before"
                self.ledger.mark(pending.id, note=note)
                return False
            remaining = (pending.tried or 0.0) + self.config.listing_delay - looked
            if remaining <= 0:
                return True
            time.sleep(remaining)

    def _progress(self, service: BatchService, entry: Entry) -> BatchProgress:
        batch = entry.provider_id or ""
        return patiently(
            lambda: service.poll(batch), self.config.patience, self._draw, f"asking for the state of batch {batch}"
        )

    def _poll(self, service: BatchService, entry: Entry) -> None:
        progress = self._progress(service, entry)
        state = "sent" if progress.state == "working" else "ended"
        note = progress.note if progress.state in ("working", "completed") else f"{progress.state} {progress.note}"
        self.ledger.mark(entry.id, state=state, counts=progress.counts, note=note.strip())

    def _download(self, service: BatchService, entry: Entry, expected: int) -> None:
        """Keep all results of a batch, those before a break included.

        Raises:
            TransientError: fewer came than the provider says there are.
        """
        seen: set[str] = set()
        chunk: list[tuple[str, Any]] = []

        def keep() -> None:
            self.ledger.record(entry.id, chunk, service.read)
            chunk.clear()

        try:
            for custom_id, result in service.results(entry.provider_id or ""):
                seen.add(custom_id)
                chunk.append((custom_id, result))
                if len(chunk) >= _CHUNK:
                    keep()
        finally:
            keep()
        if len(seen) < expected:
            raise TransientError(f"only {len(seen)} of {expected} results came", unbilled=True)


def _without_result(progress: BatchProgress) -> Failure:
    """What has become of requests for which an ended batch has no result."""
    if progress.state == "expired":
        return Failure(kind="expired", detail="the batch expired before this request was answered")
    if progress.state == "cancelled":
        return Failure(kind="cancelled", detail="the batch was cancelled before this request was answered")
    if progress.state == "failed":
        return Failure(kind="rejected", detail=f"the provider refused the batch: {progress.note}", text=progress.note)
    return Failure(kind="unavailable", detail=f"the provider has no result for this request. {progress.note}".strip())
