"""Killed (SIGKILL) in the middle of each phase, nothing is lost and nothing is sent twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from asking import requests
from fake_provider import FakeProvider
from fake_wire import READ, WRITTEN

from monosema.llm import Store

PRICE = (READ + WRITTEN) * 1000 / 1e6
PROMPTS = ["a", "b", "c", "d"]


@pytest.fixture
def job(protocol: str, tmp_path: Any) -> dict[str, Any]:
    return {"protocol": protocol, "folder": str(tmp_path), "prompts": PROMPTS}


def finish(bench: Any, world: FakeProvider) -> None:
    """Go on after a kill; all ends as if there had been none."""
    with Store(bench.folder) as bench.store:
        batches = bench.batches()
        batches.send(requests(*PROMPTS))
        world.end()
        batches.status()
        batches.retrieve()
        replies = [reply for _, reply in batches.replies(requests(*PROMPTS))]
        assert [reply.parsed["label"] for reply in replies] == PROMPTS
        spent = bench.store.spending()
        assert (spent.unknown, spent.reserved) == (0, 0)
        assert spent.answered == pytest.approx(4 * PRICE / 2)
    assert Counter(world.batched.values()) == {1: 4}
    assert len(world.batches) == 1


@pytest.mark.parametrize(
    ("protocol", "point"),
    [
        ("openai", "upload before"),
        ("openai", "upload after"),
        *((protocol, point) for protocol in ("openai", "anthropic") for point in ("create before", "create after")),
    ],
)
def test_while_sending(
    victims: Any, bench: Any, world: FakeProvider, job: dict[str, Any], protocol: str, point: str
) -> None:
    victims.kill_at(world, point, phase="send", **job)
    assert len(world.batches) == (1 if point == "create after" else 0)
    finish(bench, world)
    if protocol == "openai":
        assert len(world.files) == 1


def test_while_asking_for_the_status(victims: Any, bench: Any, world: FakeProvider, job: dict[str, Any]) -> None:
    with Store(bench.folder) as bench.store:
        bench.batches().send(requests(*PROMPTS))
    victims.kill_at(world, "poll before", phase="status", **job)
    finish(bench, world)


@pytest.mark.parametrize("point", ["results before", "results half"])
def test_while_retrieving(victims: Any, bench: Any, world: FakeProvider, job: dict[str, Any], point: str) -> None:
    with Store(bench.folder) as bench.store:
        bench.batches().send(requests(*PROMPTS))
    world.end()
    victims.kill_at(world, point, phase="retrieve", **job)
    finish(bench, world)


def test_twice_in_one_batch(victims: Any, bench: Any, world: FakeProvider, job: dict[str, Any]) -> None:
    victims.kill_at(world, "create before", phase="send", **job)
    victims.kill_at(world, "create after", phase="send", **job)
    victims.kill_at(world, "list batches before", phase="status", **job)
    world.end()
    victims.kill_at(world, "results half", phase="retrieve", **job)
    finish(bench, world)


def test_while_asking_live(victims: Any, bench: Any, world: FakeProvider, job: dict[str, Any]) -> None:
    """What was answered is kept. What was under way is asked again, and counts at the most that it can have cost."""
    prompts = ["a", "b", "slow c", "d"]
    victims.kill_at(world, "slow ask", phase="live", **{**job, "prompts": prompts})
    assert world.asked == {"a": 1, "b": 1, "slow c": 1}
    with Store(bench.folder) as bench.store:
        most = bench.store.spending().reserved
        assert most > PRICE
        replies = bench.live().complete(requests(*prompts))
        assert [reply.parsed["label"] for reply in replies] == prompts
        spent = bench.store.spending()
        assert (spent.unknown, spent.reserved) == (pytest.approx(most), 0)
        assert spent.answered == pytest.approx(4 * PRICE)
    assert world.asked == {"a": 1, "b": 1, "slow c": 2, "d": 1}


def test_what_was_killed_live_can_go_with_a_batch(
    victims: Any, bench: Any, world: FakeProvider, job: dict[str, Any]
) -> None:
    victims.kill_at(world, "slow ask", phase="live", **{**job, "prompts": ["a", "slow c"]})
    with Store(bench.folder) as bench.store:
        assert bench.batches().send(requests("a", "slow c")).sent == 1
    assert len(world.batched) == 1
