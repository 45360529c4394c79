"""Batches: sent once, retrieved whole, whatever comes in between."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asking import requests
from fake_provider import FakeProvider, Fault, echo
from fake_wire import READ, WRITTEN, Answer

from monosema.core import CostCapError, ProviderError
from monosema.llm import Store, count_failures

PRICE = (READ + WRITTEN) * 1000 / 1e6 / 2
PROMPTS = ("a", "b", "c", "d", "e")


def kinds(batches: Any, *prompts: str) -> list[str]:
    return [reply.failure.kind if reply.failure else "ok" for _, reply in batches.replies(requests(*prompts))]


def once(world: FakeProvider) -> bool:
    return set(world.batched.values()) <= {1}


def test_three_steps_each_in_a_process_of_its_own(bench: Any, world: FakeProvider, tmp_path: Path) -> None:
    first = bench.batches(most=2)
    before = first.estimate(requests(*PROMPTS))
    sent = first.send(requests(*PROMPTS))
    assert (sent.sent, sent.answered, sent.waiting) == (5, 0, 0)
    assert [(entry.state, entry.size) for entry in sent.batches] == [("sent", 2), ("sent", 2), ("sent", 1)]
    assert bench.store.spending().reserved == pytest.approx(before.at_most)
    with Store(tmp_path) as bench.store:
        second = bench.batches()
        assert [entry.state for entry in second.status()] == ["sent"] * 3
        assert second.retrieve().open == 3
        assert kinds(second, *PROMPTS) == ["pending"] * 5
        world.end()
        assert [entry.state for entry in second.status()] == ["ended"] * 3
    with Store(tmp_path) as bench.store:
        third = bench.batches()
        got = third.retrieve()
        assert (got.retrieved, got.results, got.missing, got.open) == (3, 5, 0, 0)
        replies = dict(third.replies())
        assert list(replies) == [third.custom_id(request) for request in requests(*PROMPTS)]
        assert [reply.parsed["label"] for reply in replies.values()] == list(PROMPTS)
        assert [reply.cost for reply in replies.values()] == pytest.approx([PRICE] * 5)
        spent = bench.store.spending()
        assert (spent.requests, spent.unknown, spent.reserved) == (5, 0, 0)
        assert spent.answered == pytest.approx(5 * PRICE)
        assert third.retrieve().retrieved == 0
    assert once(world)
    assert world.calls["create"] == 3


def test_what_is_answered_or_under_way_is_not_sent(bench: Any, world: FakeProvider) -> None:
    bench.live().complete(requests("a"))
    batches = bench.batches()
    batches.send(requests("b"))
    sent = batches.send(requests("a", "b", "c", "c"))
    assert (sent.sent, sent.answered, sent.waiting) == (1, 1, 1)
    assert once(world)
    assert len(world.batched) == 2
    # The other way round: nothing is asked live that waits in a batch, or came with one.
    replies = bench.live().complete(requests("a", "b", "d"))
    assert count_failures(replies) == {"pending": 1}
    world.end()
    batches.retrieve()
    assert all(reply.ok for reply in bench.live().complete(requests("a", "b", "c", "d")))
    assert world.asked == {"a": 1, "d": 1}


def test_duplicates_foreign_lines_and_any_order_change_nothing(bench: Any, world: FakeProvider) -> None:
    batches = bench.batches()
    batches.send(requests(*PROMPTS))
    world.end(twice=True, foreign=True)
    assert batches.retrieve().results == 5
    assert [reply.parsed["label"] for _, reply in batches.replies()] == list(PROMPTS)
    assert bench.store.spending().answered == pytest.approx(5 * PRICE)


def test_errors_in_some_lines_leave_the_others_whole(bench: Any, world: FakeProvider) -> None:
    batches = bench.batches()
    batches.send(requests(*PROMPTS))
    world.end(errors=2)
    batches.retrieve()
    assert kinds(batches, *PROMPTS) == ["rejected", "rejected", "ok", "ok", "ok"]
    assert bench.store.spending().at_most == pytest.approx(3 * PRICE)
    # They cost nothing, so they go with the next batch.
    assert batches.send(requests(*PROMPTS)).sent == 2
    assert kinds(batches, *PROMPTS)[:2] == ["pending", "pending"]
    world.end()
    batches.retrieve()
    assert kinds(batches, *PROMPTS) == ["ok"] * 5
    assert Counter(world.batched.values()) == {1: 3, 2: 2}


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_what_expired_is_sent_again_and_nothing_else(bench: Any, world: FakeProvider, status: str) -> None:
    batches = bench.batches()
    batches.send(requests(*PROMPTS))
    world.end(status, lost=2)
    got = batches.retrieve()
    assert got.results + got.missing == 5
    ended = status if bench.protocol == "openai" else "expired"
    assert kinds(batches, *PROMPTS) == ["ok", "ok", "ok", ended, ended]
    assert bench.store.spending().at_most == pytest.approx(3 * PRICE)
    assert batches.send(requests(*PROMPTS)).sent == 2
    world.end()
    batches.retrieve()
    assert kinds(batches, *PROMPTS) == ["ok"] * 5


def test_a_batch_that_openai_refuses_costs_nothing(world: FakeProvider, tmp_path: Path, store: Store) -> None:
    from asking import batches as make

    batches = make("openai", world.url, tmp_path, store)
    batches.send(requests("a", "b"))
    world.end("failed", lost=2)
    batches.retrieve()
    replies = [reply for _, reply in batches.replies()]
    assert count_failures(replies) == {"rejected": 2}
    assert "a bad line" in replies[0].failure.text
    assert store.spending().at_most == 0


def test_malformed_answers_and_refusals_are_kept_with_their_text(bench: Any, world: FakeProvider) -> None:
    plans = {"a": Answer('{"label": '), "b": Answer(refusal="no"), "c": Answer("cut", finish="length")}
    world.plan = lambda prompt, times: plans.get(prompt) or echo(prompt, times)
    batches = bench.batches()
    batches.send(requests(*PROMPTS))
    world.end()
    batches.retrieve()
    assert kinds(batches, *PROMPTS) == ["malformed", "refusal", "truncated", "ok", "ok"]
    assert [reply.failure.text for _, reply in batches.replies(requests("a", "b", "c"))] == ['{"label": ', "no", "cut"]
    assert bench.store.spending().answered == pytest.approx(5 * PRICE)
    assert batches.send(requests(*PROMPTS)).sent == 0
    world.plan = echo
    again = bench.batches(retry_failed=True)
    assert again.send(requests(*PROMPTS)).sent == 3
    world.end()
    again.retrieve()
    assert kinds(again, *PROMPTS) == ["ok"] * 5


def test_the_cap_holds_before_anything_is_sent(bench: Any, world: FakeProvider, tmp_path: Path) -> None:
    most = bench.batches().estimate(requests("a")).at_most
    capped = bench.batches(max_cost=2.5 * most)
    with pytest.raises(CostCapError, match="Nothing was sent"):
        capped.send(requests("a", "b", "c"))
    assert world.calls["create"] == world.calls["upload"] == 0
    assert bench.store.spending().at_most == 0
    capped.send(requests("a", "b"))
    with Store(tmp_path) as bench.store, pytest.raises(CostCapError):
        bench.batches(max_cost=2.5 * most).send(requests("c"))
    world.end()
    bench.store = capped.store
    capped.retrieve()
    capped.send(requests("c"))
    assert once(world)


def test_passing_failures_of_every_step(bench: Any, world: FakeProvider) -> None:
    faults = [Fault(429, {"Retry-After": "0.05"}), Fault(500)]
    world.faults = {step: list(faults) for step in ("upload", "create", "poll", "results", "list batches")}
    batches = bench.batches()
    batches.send(requests(*PROMPTS))
    world.end()
    assert batches.retrieve().results == 5
    assert once(world)
    assert bench.store.spending().at_most == pytest.approx(5 * PRICE)


def test_a_create_that_arrived_though_its_answer_was_lost_is_not_repeated(bench: Any, world: FakeProvider) -> None:
    """The provider made the batch, then answered 500: the next attempt looks before it sends."""
    made = type(world).add_batch

    def make_then_fail(*args: Any, **more: Any) -> str:
        made(world, *args, **more)
        world.add_batch = lambda *a, **m: made(world, *a, **m)
        raise RuntimeError

    def failing_route(handler: Any, method: str, path: str, raw: bytes) -> None:
        try:
            original(handler, method, path, raw)
        except RuntimeError:
            handler.fail(Fault(500))

    handler = world.server.RequestHandlerClass
    original = handler.route
    handler.route = failing_route
    world.add_batch = make_then_fail
    batches = bench.batches()
    batches.send(requests(*PROMPTS))
    world.end()
    batches.status()
    assert batches.retrieve().results == 5
    assert once(world)
    assert world.calls["create"] == 1


def test_a_failed_send_says_so_and_the_next_one_goes_on(bench: Any, world: FakeProvider) -> None:
    world.faults = {"create": [Fault(429)] * 4}
    with pytest.raises(ProviderError, match="Nothing is lost"):
        bench.batches().send(requests(*PROMPTS))
    assert [entry.state for entry in bench.batches().status()] == ["intended"]
    sent = bench.batches().send([])
    assert [entry.state for entry in sent.batches] == ["sent"]
    assert once(world)
    assert len(world.files) == (1 if bench.protocol == "openai" else 0)


def test_a_rejected_batch_costs_nothing_and_is_not_tried_for_ever(bench: Any, world: FakeProvider) -> None:
    world.faults = {"create": [Fault(400, message="too large")]}
    with pytest.raises(ProviderError, match="too large"):
        bench.batches().send(requests("a"))
    assert kinds(bench.batches(), "a") == ["rejected"]
    assert bench.store.spending().at_most == 0
    bench.batches().send(requests("a"))
    assert once(world)


def test_a_server_without_batches_says_so_and_live_requests_go_on(bench: Any, world: FakeProvider) -> None:
    step = "upload" if bench.protocol == "openai" else "create"
    world.faults = {step: [Fault(404, message="no such route")]}
    with pytest.raises(ProviderError, match="no such route"):
        bench.batches().send(requests("a"))
    assert bench.store.spending().at_most == 0
    assert bench.live().complete(requests("a"))[0].ok


def test_two_processes_that_send_the_same_send_it_once(bench: Any, world: FakeProvider, tmp_path: Path) -> None:
    from asking import batches as make

    def send(number: int) -> int:
        with Store(tmp_path) as store:
            return make(bench.protocol, world.url, tmp_path, store).send(requests(*PROMPTS)).sent

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(send, range(4))) == [0, 0, 0, 5]
    assert once(world)
    assert len(world.batched) == 5
    assert world.calls["create"] == 1


def test_a_download_that_ends_early_is_done_again(bench: Any, world: FakeProvider) -> None:
    handler, cut = world.server.RequestHandlerClass, iter([True, True])
    whole = handler.result_lines

    def half(self: Any, id: str, kind: str, anthropic: bool) -> Any:
        lines = list(whole(self, id, kind, anthropic))
        return lines[:2] if next(cut, False) else lines

    handler.result_lines = half
    batches = bench.batches()
    batches.send(requests(*PROMPTS))
    world.end()
    assert batches.retrieve().results == 5
    assert bench.store.spending().answered == pytest.approx(5 * PRICE)


def test_a_batch_that_the_provider_has_deleted_counts_as_spent(bench: Any, world: FakeProvider) -> None:
    batches = bench.batches()
    batches.send(requests("a"))
    most = bench.store.spending().reserved
    world.batches.clear()
    assert batches.retrieve().missing == 1
    assert kinds(batches, "a") == ["unavailable"]
    assert bench.store.spending().unknown == pytest.approx(most)


def test_other_models_in_the_same_store_are_left_alone(bench: Any, world: FakeProvider, tmp_path: Path) -> None:
    from asking import batches as make

    bench.batches().send(requests("a"))
    other = make(bench.protocol, world.url, tmp_path, bench.store, effort="low")
    assert other.status() == []
    assert list(other.replies()) == []
    assert other.send(requests("a")).sent == 1
    assert world.bodies == []
    assert len(world.batched) == 2


class TestAnthropicHasNoMetadata:
    """A batch that may be ours is told apart by its results only."""

    @pytest.fixture
    def lost(self, world: FakeProvider, tmp_path: Path, store: Store) -> Any:
        """A batch of which nobody heard whether it arrived: it did not."""
        from asking import batches

        world.faults = {"create": [Fault(500)] * 4}
        return batches("anthropic", world.url, tmp_path, store)

    def foreign(self, world: FakeProvider, *prompts: str) -> None:
        lines = [{"custom_id": f"other-{p}", "params": {"model": "m", "messages": [{"content": p}]}} for p in prompts]
        world.add_batch(lines)

    def test_another_of_equal_size_delays_it_until_it_ends(self, lost: Any, world: FakeProvider) -> None:
        with pytest.raises(ProviderError):
            lost.send(requests("a", "b"))
        self.foreign(world, "x", "y")
        sent = lost.send([])
        assert [entry.state for entry in sent.batches] == ["intended"]
        assert "may have arrived as batch-0" in sent.batches[0].note
        assert len(world.batches) == 1
        world.end()
        sent = lost.send([])
        assert [entry.state for entry in sent.batches] == ["sent"]
        world.end()
        lost.retrieve()
        assert kinds(lost, "a", "b") == ["ok", "ok"]
        assert once(world)

    def test_others_of_unequal_size_do_not(self, lost: Any, world: FakeProvider) -> None:
        with pytest.raises(ProviderError):
            lost.send(requests("a", "b"))
        for _ in range(3):
            self.foreign(world, "x", "y", "z")
        assert [entry.state for entry in lost.send([]).batches] == ["sent"]


def test_results_that_are_no_completions_are_failures(world: FakeProvider) -> None:
    from asking import config

    adapter = config("openai", world.url).adapter()
    (request,) = requests("a")
    for line in ({}, {"response": {"status_code": 200, "body": {}}}, {"error": {"code": "batch_expired"}}):
        failure = adapter.read(json.loads(json.dumps({"custom_id": "x", **line})), request)
        assert failure.kind in ("rejected", "malformed", "expired")
