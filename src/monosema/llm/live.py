"""Requests answered at once: many at a time, each paid once, never beyond the cap."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pydantic import Field

from monosema.core import Config, MonosemaError, Progress, ProviderError, SilentProgress, derive_seed
from monosema.llm.calls import RejectedError, RetryPolicy, TransientError
from monosema.llm.prices import CostEstimate, Price, PriceTable, estimate_cost
from monosema.llm.protocol import Failure, Reply, Request, Usage, request_key
from monosema.llm.provider import Conversation, Provider
from monosema.llm.store import Reservation, Store
from monosema.llm.structured import checked

Result = TypeVar("Result")
_LOOK_AGAIN = 0.2


class LiveConfig(Config):
    """How requests are sent."""

    concurrency: int = Field(8, gt=0)
    """Most requests under way at once."""
    malformed_attempts: int = Field(3, gt=0)
    """How often a request is asked when the answer does not fit its schema; each attempt is paid."""
    max_cost: float | None = Field(None, ge=0)
    """US dollars that may be spent in the store's folder altogether, earlier runs included; None without limit."""
    retry_failed: bool = False
    """Whether to ask and pay again for requests whose kept answer is a failure."""
    patience: RetryPolicy = RetryPolicy()
    """How failing calls are repeated."""


class LiveClient:
    """See `Client`. A provider, a store of what was answered and spent, and prices.

    Args:
        provider: who answers.
        store: where answers and costs are kept.
        prices: the price table; the one that comes with monosema when None.
        config: how requests are sent.

    Raises:
        ConfigError: there is a cap, but no price for the model.
    """

    def __init__(
        self,
        provider: Provider,
        store: Store,
        prices: PriceTable | None = None,
        config: LiveConfig | None = None,
    ) -> None:
        self.provider, self.store, self.config = provider, store, config or LiveConfig()
        self.price = (prices or PriceTable.load()).under(self.config.max_cost, provider.model)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.provider.model

    def key(self, request: Request) -> str:
        """The request's name in the store."""
        return request_key(self.provider.identity, request)

    def estimate(self, requests: Sequence[Request]) -> CostEstimate:
        """What the requests that have no answer yet would cost; sends nothing."""
        unique = {self.key(request): request for request in requests}
        new = [request for key, request in unique.items() if self._kept(key) is None]
        return estimate_cost(new, self.price, answered=len(unique) - len(new))

    def complete(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Reply]:
        """One reply for each request, in their order; what the store has is not asked again.

        Raises:
            ProviderError: nothing can be answered: a wrong key, no such model, or a server that answers none of the
                first requests. What was answered before is kept.
        """
        keys = [self.key(request) for request in requests]
        unique = dict(zip(keys, requests, strict=True))
        answered = {key: reply for key in unique if (reply := self._kept(key)) is not None}
        progress = progress or SilentProgress()
        times = Counter(keys)
        progress.advance(sum(times[key] for key in answered))
        missing = {key: request for key, request in unique.items() if key not in answered}
        if missing:
            work = _Work(self, missing, lambda key: progress.advance(times[key]))
            answered |= _run(work.all())
        return [answered[key] for key in keys]

    def _kept(self, key: str) -> Reply | None:
        reply = self.store.lookup(key)
        return None if reply is not None and not reply.ok and self.config.retry_failed else reply


class _Work:
    """The requests of one call that have to be sent."""

    def __init__(self, client: LiveClient, requests: dict[str, Request], done: Callable[[str], None]) -> None:
        self.client, self.config, self.store = client, client.config, client.store
        self.price: Price | None = client.price
        self.requests, self.done = requests, done
        self.replies: dict[str, Reply] = {}
        self.draw = random.Random(derive_seed(0, "jitter", time.time_ns()))
        self.fatal: MonosemaError | None = None
        self.resume_at = 0.0
        self.under_way = 0
        self.settled = asyncio.Event()

    async def all(self) -> dict[str, Reply]:
        waiting = iter(self.requests.items())

        async def worker(conversation: Conversation) -> None:
            for key, request in waiting:
                if self.fatal is not None:
                    return
                try:
                    self.replies[key] = await self.answer(conversation, key, request)
                except MonosemaError as error:
                    # Others may hold answers that are paid for: they finish, and then the error is raised.
                    self.fatal = error
                    return
                self.done(key)
                if self.fatal is None and self.silent():
                    last = self.replies[key].failure
                    self.fatal = ProviderError(
                        f"The first {len(self.replies)} of {len(self.requests)} requests were all in vain "
                        f"({last.detail if last else ''}), so the others are not sent. Check that the server runs and "
                        "can be reached, then run the same command again."
                    )
                    return

        async with (
            self.client.provider.conversation(self.config.patience) as conversation,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(min(self.config.concurrency, len(self.requests))):
                group.create_task(worker(conversation))
        if self.fatal is not None:
            raise self.fatal
        return self.replies

    def silent(self) -> bool:
        """Whether as many requests as may be under way at once have failed for passing reasons, and none succeeded."""
        failures = [reply.failure for reply in self.replies.values()]
        return self.config.concurrency <= len(failures) < len(self.requests) and all(
            failure is not None and failure.kind == "unavailable" for failure in failures
        )

    async def answer(self, conversation: Conversation, key: str, request: Request) -> Reply:
        """Ask until the answer fits the schema, or attempts are used up; keep the answer and what it cost."""
        usage, cost, discarded = Usage(), 0.0, list[str]()
        for attempt in range(self.config.malformed_attempts):
            asked = request if request.seed is None else request.replace(seed=request.seed + attempt)
            got = await self.send(conversation, key, asked)
            if isinstance(got, Reply):
                return got.replace(discarded=tuple(discarded), usage=usage, cost=cost) if discarded else got
            reservation, reply = got
            spent = self.price.of(reply.usage) if self.price is not None else None
            usage, cost = usage + reply.usage, cost + (spent or 0.0)
            reply = checked(reply, request)
            failed = reply.failure is not None and reply.failure.kind == "malformed"
            if failed and attempt + 1 < self.config.malformed_attempts:
                discarded.append(reply.text)
                self.store.charge(reservation, reply.usage, spent)
                self.end()
                continue
            total = None if self.price is None else cost
            whole = reply.replace(usage=usage, cost=total, discarded=tuple(discarded))
            self.store.settle(reservation, self.client.model, request, whole, reply.usage, spent)
            self.end()
            return whole
        raise AssertionError("there is at least one attempt")

    async def send(self, conversation: Conversation, key: str, request: Request) -> Reply | tuple[Reservation, Reply]:
        """One answer, or the reply that says why there is none."""
        attempt = 0
        while True:
            await self.wait_for_all()
            leave = await self.reserve(key, request)
            if isinstance(leave, Reply):
                return leave
            try:
                async with asyncio.timeout(self.config.patience.timeout):
                    return leave, await conversation.ask(request)
            except (TransientError, TimeoutError) as error:
                failure = (
                    error if isinstance(error, TransientError) else TransientError("no answer in time", unbilled=False)
                )
                (self.store.release if failure.unbilled else self.store.give_up)(leave)
                self.end()
            except RejectedError as error:
                self.store.release(leave)
                self.end()
                return _failed("rejected", str(error))
            except MonosemaError:
                self.store.release(leave)
                self.end()
                raise
            except BaseException:
                self.store.give_up(leave)
                raise
            wait = self.config.patience.wait(failure, attempt, self.draw)
            if wait is None:
                return _failed("unavailable", f"tried {attempt + 1} times, last: {failure}")
            if failure.everyone:
                self.resume_at = max(self.resume_at, time.monotonic() + wait)
            else:
                await asyncio.sleep(wait)
            attempt += 1

    async def wait_for_all(self) -> None:
        """Wait while the provider asks everyone to."""
        while (seconds := self.resume_at - time.monotonic()) > 0:
            await asyncio.sleep(seconds)

    async def reserve(self, key: str, request: Request) -> Reservation | Reply:
        """Leave to ask, or the reply that makes asking needless or impossible."""
        at_most = None if self.price is None else self.price.at_most(request)
        while True:
            self.settled.clear()
            verdict = self.store.reserve(key, at_most, self.config.max_cost, again=self.config.retry_failed)
            if isinstance(verdict, Reservation):
                self.under_way += 1
                return verdict
            if verdict == "answered" and (reply := self.store.lookup(key)) is not None:
                return reply
            if verdict == "batch":
                return _failed("pending", "it waits in a batch; retrieve that first")
            if verdict == "cap" and self.under_way == 0:
                return _failed("cost cap", f"it might cost {at_most:.2g} dollars, beyond {self.config.max_cost}")
            if verdict == "cap":
                # What is under way counts at its most until it is answered: there may be room then.
                await self.settled.wait()
            else:
                await asyncio.sleep(_LOOK_AGAIN)

    def end(self) -> None:
        """A request is no longer under way."""
        self.under_way -= 1
        self.settled.set()


def _failed(kind: Any, detail: str) -> Reply:
    return Reply(failure=Failure(kind=kind, detail=detail, text=detail))


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end, also from within a running event loop, as notebooks have one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
