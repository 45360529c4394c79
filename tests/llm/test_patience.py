"""Live requests to providers that are slow, absent or failing: how long is waited, and what is asked again."""

from __future__ import annotations

import time
from typing import Any

import pytest
from asking import QUICK, provider, requests
from fake_provider import FakeProvider, Fault, echo
from fake_wire import READ, WRITTEN

from monosema.core import ProviderError
from monosema.llm import LiveClient, Price, PriceTable, RetryPolicy, Store, count_failures

PRICE = (READ + WRITTEN) * 1000 / 1e6


def test_retry_after_is_honoured_by_all(bench: Any, world: FakeProvider) -> None:
    limited = Fault(429, {"Retry-After": "0.4"}, "slow down")
    world.plan = lambda prompt, times: limited if prompt == "a" and times == 1 else echo(prompt, times)
    replies = bench.live(concurrency=1).complete(requests("a", "b"))
    assert all(reply.ok for reply in replies)
    assert world.asked == {"a": 2, "b": 1}
    gaps = [after - before for before, after in zip(world.times, world.times[1:], strict=False)]
    assert gaps[0] >= 0.4
    assert bench.store.spending().at_most == pytest.approx(2 * PRICE)


def test_a_provider_that_asks_to_wait_too_long_is_not_waited_for(bench: Any, world: FakeProvider) -> None:
    world.plan = lambda prompt, times: Fault(503, {"Retry-After": "3600"})
    (reply,) = bench.live().complete(requests("a"))
    assert reply.failure.kind == "unavailable"
    assert world.asked["a"] == 1


@pytest.mark.parametrize(
    ("fault", "may_be_billed"),
    [
        (Fault(500), False),
        (Fault(529), False),
        (Fault(truncated=True), True),
        (Fault(200, seconds=0.9), True),
    ],
    ids=["500", "529", "truncated JSON", "time-out"],
)
def test_passing_failures_are_asked_again(bench: Any, world: FakeProvider, fault: Fault, may_be_billed: bool) -> None:
    world.plan = lambda prompt, times: fault if times < 3 else echo(prompt, times)
    patience = QUICK.replace(timeout=0.6) if fault.seconds else QUICK
    (reply,) = bench.live(patience=patience).complete(requests("a"))
    assert reply.parsed == {"label": "a"}
    assert world.asked["a"] == 3
    spent = bench.store.spending()
    assert (spent.requests, spent.reserved) == (1, 0)
    assert (spent.unknown > 0) == may_be_billed


def test_a_provider_that_stays_away_is_a_failure_and_not_kept(bench: Any, world: FakeProvider) -> None:
    world.plan = lambda prompt, times: Fault(500, message="on fire") if prompt == "a" else echo(prompt, times)
    replies = bench.live().complete(requests("a", "b"))
    assert count_failures(replies) == {"unavailable": 1}
    assert "tried 4 times" in replies[0].failure.detail
    assert "on fire" in replies[0].failure.text
    world.plan = echo
    assert all(reply.ok for reply in bench.live().complete(requests("a", "b")))
    assert world.asked == {"a": 5, "b": 1}


def test_nobody_at_the_address_costs_nothing(protocol: str, store: Store) -> None:
    client = LiveClient(
        provider(protocol, "http://127.0.0.1:9"), store, PriceTable({"m": Price(input=1, output=1)}, "")
    )
    client.config = client.config.replace(patience=QUICK.replace(attempts=2))
    (reply,) = client.complete(requests("a"))
    assert reply.failure.kind == "unavailable"
    assert store.spending().at_most == 0


def test_jitter_stays_within_its_bounds() -> None:
    import random

    from monosema.llm.calls import TransientError

    patience, draw = RetryPolicy(attempts=10, first_wait=1.0, longest_wait=8.0), random.Random(0)
    for attempt in range(9):
        waits = [patience.wait(TransientError("", unbilled=True), attempt, draw) for _ in range(200)]
        longest = min(2.0**attempt, 8.0)
        assert 0 <= min(waits) < 0.1 * longest
        assert 0.9 * longest < max(waits) <= longest
    asked = [patience.wait(TransientError("", 5.0, unbilled=True), 0, draw) for _ in range(200)]
    assert 5.0 <= min(asked) < max(asked) <= 5.5


def test_a_date_in_retry_after_is_understood() -> None:
    import email.utils

    from monosema.llm.account import _retry_after

    soon = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert 27 < _retry_after({"retry-after": soon}) <= 30
    assert _retry_after({"retry-after-ms": "250"}) == 0.25
    assert _retry_after({"retry-after": "soon"}) is None
    assert _retry_after({}) is None


def test_a_server_that_answers_none_of_the_first_is_not_asked_the_others(bench: Any, world: FakeProvider) -> None:
    world.plan = lambda prompt, times: Fault(503)
    patience = QUICK.replace(attempts=1)
    with pytest.raises(ProviderError, match="The first 2 of 6 requests were all in vain"):
        bench.live(concurrency=2, patience=patience).complete(requests(*"abcdef"))
    assert len(world.asked) < 6
    assert bench.store.spending().reserved == 0
    # One answer among the first, and all are sent.
    world.plan = lambda prompt, times: echo(prompt, times) if prompt == "a" else Fault(503)
    replies = bench.live(concurrency=2, patience=patience).complete(requests(*"abcdef"))
    assert [reply.ok for reply in replies] == [True] + [False] * 5
