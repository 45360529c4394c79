"""Requests answered at once: many at a time, each paid once, never beyond the cap."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from monosema.core import MonosemaError, Progress, ProviderError, SilentProgress
from monosema.llm.adapter import METER, Adapter, ClientConfig, RejectedError, UnavailableError
from monosema.llm.prices import CostEstimate, estimate_cost, find_price
from monosema.llm.protocol import Failure, FailureKind, Reply, Request, Usage, request_key
from monosema.llm.store import Reservation, Store
from monosema.llm.structured import checked

_LOOK_AGAIN = 0.2


class LiveClient:
    """See `Client`. A vendor's model, with a store of answers and costs; its library repeats calls that fail.

    Args:
        adapter: the vendor's protocol.
        store: answers and costs.
        config: concurrency, cap, prices.

    Raises:
        ConfigError: there is a cap, but no price for the model.
    """

    def __init__(self, adapter: Adapter, store: Store, config: ClientConfig) -> None:
        self.adapter, self.store, self.config = adapter, store, config
        self.price = find_price(self.model, config.prices, config.max_cost)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.adapter.credentials.model

    def key(self, request: Request) -> str:
        """Return the request's name in the store."""
        return request_key(self.adapter.credentials.identity, request)

    def estimate(self, requests: Sequence[Request]) -> CostEstimate:
        """Estimate the cost of requests that have no answer yet; sends nothing."""
        unique = {self.key(request): request for request in requests}
        new = [request for key, request in unique.items() if self._kept(key) is None]
        return estimate_cost(new, self.price, answered=len(unique) - len(new))

    def complete(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Reply]:
        """Return one reply for each request, in their order; what the store has is not asked again.

        Raises:
            ProviderError: nothing can be answered: a wrong key, no such model, or a server that answers none of the
                first requests. What was answered before is kept.
        """
        keys = [self.key(request) for request in requests]
        unique = dict(zip(keys, requests, strict=True))
        answered = {key: reply for key in unique if (reply := self._kept(key)) is not None}
        progress, times = progress or SilentProgress(), Counter(keys)
        progress.advance(sum(times[key] for key in answered))
        missing = {key: request for key, request in unique.items() if key not in answered}
        if missing:
            with self.adapter.connect() as session:
                answered |= _Work(self, session, missing).run(progress, times)
        return [answered[key] for key in keys]

    def _kept(self, key: str) -> Reply | None:
        reply = self.store.lookup(key)
        return None if reply is not None and not reply.ok and self.config.retry_failed else reply


class _CapReachedError(BaseException):
    """The cap leaves no room for another attempt. No `Exception`: see `Meter`."""


class _Lease:
    """Money set aside for the attempts at one request; see `Meter`."""

    def __init__(self, store: Store, reservation: Reservation, cap: float | None) -> None:
        self.store, self.reservation, self.cap = store, reservation, cap
        self.attempts, self.billable = 0, False

    def begin(self) -> None:
        """Set as much aside once more where the attempt before may have been answered though nobody heard it."""
        if self.billable:
            renewed = self.store.renew(self.reservation, self.cap)
            if renewed is None:
                raise _CapReachedError
            self.reservation, self.billable = renewed, False
        self.attempts += 1

    def end(self) -> None:
        """Free what was set aside, or count it as spent where the last attempt may have been answered."""
        (self.store.give_up if self.billable else self.store.release)(self.reservation)


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
                    f"The first {len(self.replies)} of {len(self.requests)} requests were all in vain "
                    f"({reply.failure.detail if reply.failure else ''}), so the others are not sent. Check that the "
                    "server runs and can be reached, then run the same command again."
                )
        return True

    def _silent(self) -> bool:
        """Return True if as many requests as go out at once have failed for passing reasons, and none succeeded."""
        return self.config.concurrency <= len(self.replies) < len(self.requests) and all(
            reply.failure is not None and reply.failure.kind == "unavailable" for reply in self.replies.values()
        )

    def _answer(self, key: str, request: Request) -> Reply:
        """Ask until the answer fits the schema, or attempts are used up; keep the answer and what it cost."""
        usage, cost, discarded = Usage(), 0.0, list[str]()
        for attempt in range(1, self.config.malformed_attempts + 1):
            with self._leased(key, request) as lease:
                again = attempt < self.config.malformed_attempts
                seed = None if request.seed is None else request.seed + attempt - 1
                reply = lease if isinstance(lease, Reply) else self._ask(lease, request.replace(seed=seed), again)
                if reply is None:
                    continue
                if isinstance(lease, Reply) or (reply.failure is not None and not reply.failure.paid):
                    return reply.replace(usage=usage, cost=cost, discarded=tuple(discarded)) if discarded else reply
                last, spent = reply.usage, None if self.price is None else self.price.of(reply.usage)
                usage, cost = usage + last, cost + (spent or 0.0)
                reply = checked(reply, request)
                if again and reply.failure is not None and reply.failure.kind == "malformed":
                    discarded.append(reply.text)
                    self.store.charge(lease.reservation, last, spent)
                    continue
                total = None if self.price is None else cost
                reply = reply.replace(usage=usage, cost=total, discarded=tuple(discarded))
                self.store.settle(lease.reservation, self.client.model, request, reply, last, spent)
                return reply
        raise AssertionError("the last attempt returns")

    def _ask(self, lease: _Lease, request: Request, again: bool) -> Reply | None:
        """Return an answer, or the reply that says why there is none; None where asking again may help."""
        token = METER.set(lease)
        try:
            return self.client.adapter.ask(self.session, request)
        except UnavailableError as error:
            lease.end()
            if error.unreadable and again:
                return None
            return _failed("unavailable", f"tried {lease.attempts} times, last: {error}")
        except RejectedError as error:
            lease.end()
            return _failed("rejected", str(error))
        except _CapReachedError:
            return _failed("cost cap", f"asking again might exceed {self.config.max_cost} dollars")
        except BaseException:
            lease.end()
            raise
        finally:
            METER.reset(token)

    @contextlib.contextmanager
    def _leased(self, key: str, request: Request) -> Iterator[_Lease | Reply]:
        """Leave to ask, or the reply that makes asking needless or impossible."""
        lease = self._reserve(key, request)
        try:
            yield lease
        finally:
            if isinstance(lease, _Lease):
                with self.changed:
                    self.under_way -= 1
                    self.changed.notify_all()

    def _reserve(self, key: str, request: Request) -> _Lease | Reply:
        cap = self.config.max_cost
        at_most = None if self.price is None else self.price.at_most(request)
        while True:
            with self.changed:
                verdict = self.store.reserve(key, at_most, cap, again=self.config.retry_failed)
                if isinstance(verdict, Reservation):
                    self.under_way += 1
                    return _Lease(self.store, verdict, cap)
                if verdict == "answered" and (reply := self.store.lookup(key)) is not None:
                    return reply
                if verdict == "batch":
                    return _failed("pending", "it waits in a batch; retrieve that first")
                if verdict == "cap" and self.under_way == 0:
                    return _failed("cost cap", f"it might cost {at_most:.2g} dollars, beyond {cap}")
                if verdict == "cap":
                    # What is under way counts at its most until it is answered: there may be room then.
                    self.changed.wait()
                    continue
            time.sleep(_LOOK_AGAIN)


def _failed(kind: FailureKind, detail: str) -> Reply:
    return Reply(failure=Failure(kind=kind, detail=detail, text=detail))
