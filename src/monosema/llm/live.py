"""Requests answered at once: many at a time, each paid once, never beyond the cap."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from typing import Any

from monosema.core import MonosemaError, Progress, ProviderError, SilentProgress
from monosema.llm.adapter import Adapter, ClientConfig, RejectedError, UnavailableError, pause
from monosema.llm.prices import CostEstimate, estimate_cost, find_price
from monosema.llm.protocol import Reply, Request, request_key
from monosema.llm.store import Store
from monosema.llm.structured import checked


class LiveClient:
    """See `Client`. A vendor's model, with a store of answers and costs.

    Args:
        adapter: the vendor's protocol.
        store: answers and costs.
        config: concurrency, cap, prices.

    Raises:
        ConfigError: there is a cap, but no price for the model.
    """

    def __init__(self, adapter: Adapter, store: Store, config: ClientConfig) -> None:
        self.adapter, self.store, self.config = adapter, store, config
        self.model = adapter.credentials.model
        self.price = find_price(self.model, config.prices, config.max_cost)

    def key(self, request: Request) -> str:
        """Return the request's name in the store."""
        return request_key(self.adapter.credentials.identity, request)

    def estimate(self, requests: Sequence[Request]) -> CostEstimate:
        """Estimate the cost of requests that have no answer yet; sends nothing."""
        unique = {self.key(request): request for request in requests}
        new = [request for key, request in unique.items() if self.store.lookup(key, self.config.retry_failed) is None]
        return estimate_cost(new, self.price, answered=len(unique) - len(new))

    def complete(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Reply]:
        """Return one reply for each request, in their order; what the store has is not asked again.

        Raises:
            ProviderError: nothing can be answered: a wrong key, no such model, or a server that answers none of the
                first requests. What was answered before is kept.
        """
        keys = [self.key(request) for request in requests]
        progress, times = progress or SilentProgress(), Counter(keys)
        replies: dict[str, Reply] = {}
        with self.store.asking():
            for key in times:
                if (reply := self.store.lookup(key, self.config.retry_failed)) is not None:
                    replies[key] = reply
                elif self.store.is_waiting(key):
                    replies[key] = Reply.failed("pending", "it waits in a batch; retrieve that first")
            progress.advance(sum(times[key] for key in replies))
            missing = {key: one for key, one in zip(keys, requests, strict=True) if key not in replies}
            if missing:
                with self.adapter.connect() as session:
                    replies |= _Work(self, session, missing).run(progress, times)
        return [replies[key] for key in keys]


class _CapReachedError(Exception):
    """The cap leaves no room for another attempt."""


class _Work:
    """The requests of one call that have to be sent."""

    def __init__(self, client: LiveClient, session: Any, requests: dict[str, Request]) -> None:
        self.client, self.config, self.store, self.price = client, client.config, client.store, client.price
        self.session, self.requests = session, requests
        self.replies: dict[str, Reply] = {}
        self.fatal: BaseException | None = None
        self.under_way = 0
        self.changed = threading.Condition()

    def run(self, progress: Progress, times: Counter[str]) -> dict[str, Reply]:
        """Send all. After a fatal error, what is under way may hold answers that are paid for: it finishes first."""
        with ThreadPoolExecutor(self.config.concurrency) as pool:
            futures = {pool.submit(self._one, key): key for key in self.requests}
            try:
                for future in as_completed(futures):
                    if future.result():
                        progress.advance(times[futures[future]])
            except BaseException as error:
                self.fatal = self.fatal or error
                raise
        if self.fatal is not None:
            raise self.fatal
        return self.replies

    def _one(self, key: str) -> bool:
        if self.fatal is not None:
            return False
        try:
            reply = self._answer(key, self.requests[key])
        except MonosemaError as error:
            self.fatal = self.fatal or error
            return False
        with self.changed:
            self.replies[key] = reply
            if self.fatal is None and self._silent():
                self.fatal = ProviderError(
                    f"The first {self.config.concurrency} of {len(self.requests)} requests were all in vain "
                    f"({reply.failure.detail if reply.failure else ''}), so the others are not sent. Check that the "
                    "server runs and can be reached, then run the same command again."
                )
        return True

    def _silent(self) -> bool:
        """Return True if the first requests, as many as go out at once, have all failed for passing reasons."""
        first = [self.replies.get(key) for key in islice(self.requests, self.config.concurrency)]
        return len(first) < len(self.requests) and all(
            reply and reply.failure is not None and reply.failure.kind == "unavailable" for reply in first
        )

    def _answer(self, key: str, request: Request) -> Reply:
        """Ask until the answer fits the schema, or attempts are used up."""
        before, silent = Reply(cost=None if self.price is None else 0.0), 0
        while True:
            try:
                reply = self._ask(key, request, before)
                if not self._again(reply):
                    return reply
                before = reply.replace(discarded=(*reply.discarded, reply.text))
                continue
            except _CapReachedError as error:
                reply = Reply.failed("cost cap", str(error))
            except RejectedError as error:
                reply = Reply.failed("rejected", str(error))
            except UnavailableError as error:
                silent += 1
                if silent < self.config.attempts and self.fatal is None:
                    pause(silent, error)
                    continue
                reply = Reply.failed("unavailable", f"tried {silent} times, last: {error}")
            if before.discarded:
                reply = reply.replace(usage=before.usage, cost=before.cost, discarded=before.discarded)
            return reply

    def _again(self, reply: Reply) -> bool:
        malformed = reply.failure is not None and reply.failure.kind == "malformed"
        return malformed and len(reply.discarded) + 1 < self.config.malformed_attempts

    def _ask(self, key: str, request: Request, before: Reply) -> Reply:
        """Make one attempt, and keep its cost, and the answer if it is the last. Usage and cost are those of all."""
        with self._attempt(key, request) as attempt:
            seed = None if request.seed is None else request.seed + len(before.discarded)
            answer = self.client.adapter.ask(self.session, request.replace(seed=seed))
            spent = None if self.price is None else self.price.of(answer.usage)
            reply = checked(answer, request).replace(
                usage=before.usage + answer.usage,
                cost=None if spent is None else (before.cost or 0.0) + spent,
                discarded=before.discarded,
            )
            with self.store.transaction():
                self.store.charge(attempt, answer.usage, spent)
                if not self._again(reply):
                    self.store.keep(key, self.client.model, request, reply)
        return reply

    @contextlib.contextmanager
    def _attempt(self, key: str, request: Request) -> Iterator[str]:
        """Set aside the cost of an attempt; one without an answer is free, or counts as spent if it may be billed."""
        attempt = self._reserve(key, request)
        try:
            yield attempt
        except BaseException as error:
            free = isinstance(error, RejectedError | ProviderError)
            free = free or (isinstance(error, UnavailableError) and not error.billed)
            (self.store.release if free else self.store.count_unknown)(attempt)
            raise
        finally:
            with self.changed:
                self.under_way -= 1
                self.changed.notify_all()

    def _reserve(self, key: str, request: Request) -> str:
        cap, at_most = self.config.max_cost, None if self.price is None else self.price.at_most(request)
        with self.changed:
            # What is under way counts at its most until it is answered: there may be room then.
            while (attempt := self.store.reserve(key, at_most, cap)) is None and self.under_way:
                self.changed.wait()
            if attempt is None:
                raise _CapReachedError(f"it might cost {at_most:.2g} dollars, beyond {cap}")
            self.under_way += 1
        return attempt
