"""Live requests: what comes back, what is asked again, what is paid."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asking import SCHEMA, live, requests
from fake_provider import FakeProvider, Fault, echo
from fake_wire import READ, WRITTEN, Answer

from monosema.core import ConfigError, ProviderError
from monosema.llm import Absent, LiveClient, Message, Request, Store, count_failures

PRICE = (READ + WRITTEN) * 1000 / 1e6


def test_answers_come_back_in_order_parsed_counted_and_priced(bench: Any, world: FakeProvider) -> None:
    client = bench.live()
    world.plan = lambda prompt, times: (time.sleep(0.02), echo(prompt, times))[1]
    prompts = [f"feature {number}" for number in range(20)]
    replies = client.complete(requests(*prompts))
    assert [reply.parsed for reply in replies] == [{"label": prompt} for prompt in prompts]
    assert all(reply.ok and reply.finish == "stop" and reply.model.startswith("m-2026") for reply in replies)
    assert {(reply.usage.input_tokens, reply.usage.output_tokens) for reply in replies} == {(READ, WRITTEN)}
    assert [reply.cost for reply in replies] == pytest.approx([PRICE] * 20)
    spent = bench.store.spending()
    assert (spent.requests, spent.unknown, spent.reserved) == (20, 0, 0)
    assert spent.answered == pytest.approx(20 * PRICE)
    assert 1 < world.most_under_way <= 4


def test_nothing_is_asked_twice(bench: Any, world: FakeProvider, tmp_path: Path) -> None:
    first = bench.live().complete(requests("a", "b", "a"))
    assert world.asked == {"a": 1, "b": 1}
    with Store(tmp_path) as other:
        again = live(bench.protocol, world.url, tmp_path, other).complete(requests("b", "a", "c"))
    assert world.asked == {"a": 1, "b": 1, "c": 1}
    assert again[:2] == [first[1], first[0]]
    # Whatever the answer depends on makes another request.
    bench.live().complete(requests("a", max_tokens=51) + requests("a", seed=1))
    assert world.asked["a"] == 3


def test_two_processes_that_ask_the_same_pay_once(bench: Any, world: FakeProvider, tmp_path: Path) -> None:
    (request,) = requests("a")
    key = bench.live().key(request)
    world.plan = lambda prompt, times: pytest.fail("it is asked by the other")
    with Store(tmp_path) as other, ThreadPoolExecutor(1) as pool:
        with other.asking():
            asking = pool.submit(bench.live().complete, [request])
            time.sleep(0.1)
            other.keep(key, "m", request, echoed("a"))
        (reply,) = asking.result()
    assert reply.text == echoed("a").text
    assert world.asked == {}


def echoed(prompt: str) -> Any:
    from monosema.llm import Reply

    return Reply(text=json.dumps({"label": prompt}), parsed={"label": prompt})


@pytest.mark.parametrize(
    "text",
    ['{"label": "cut', "no JSON at all", '{"label": 3}', '{"label": "x", "more": 1}', '{"label": NaN}', ""],
)
def test_malformed_answers_are_asked_again_then_kept_as_failures(bench: Any, world: FakeProvider, text: str) -> None:
    world.plan = lambda prompt, times: Answer(text) if prompt == "a" else echo(prompt, times)
    replies = bench.live(malformed_attempts=2).complete(requests("a", "b"))
    assert count_failures(replies) == {"malformed": 1}
    assert replies[0].failure.text == text
    assert replies[0].discarded == (text,)
    assert replies[0].parsed is None
    assert replies[0].cost == pytest.approx(2 * PRICE)
    assert bench.store.spending().answered == pytest.approx(3 * PRICE)
    # It was paid for: it is not asked again unless that is wanted.
    bench.live().complete(requests("a"))
    assert world.asked["a"] == 2
    world.plan = echo
    assert bench.live(retry_failed=True).complete(requests("a", "b"))[0].ok
    assert world.asked == {"a": 3, "b": 1}


def test_a_malformed_answer_is_repaired_by_another_attempt_with_another_seed(bench: Any, world: FakeProvider) -> None:
    world.plan = lambda prompt, times: echo(prompt, times) if times == 2 else Answer("```json\n{}\n```")
    (reply,) = bench.live().complete(requests("a", seed=7))
    assert reply.ok
    assert reply.discarded == ("```json\n{}\n```",)
    if bench.protocol == "openai":
        assert [body["seed"] for body in world.bodies] == [7, 8]
        assert reply.ignored == ()
    else:
        assert reply.ignored == ("seed",)


def test_wrong_lengths_are_malformed(bench: Any, world: FakeProvider) -> None:
    """A simulator that predicts three activations for four tokens has failed; nothing is cut or filled up."""
    schema = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 10}, "minItems": 4, "maxItems": 4}
    world.plan = lambda prompt, times: Answer({"short": "[1,2,3]", "long": "[1,2,3,4,5]", "big": "[1,2,3,11]"}[prompt])
    replies = bench.live(malformed_attempts=1).complete(requests("short", "long", "big", response_schema=schema))
    assert count_failures(replies) == {"malformed": 3}
    world.plan = lambda prompt, times: Answer("```json\n[1, 2, 3, 10]\n```")
    assert bench.live().complete(requests("right", response_schema=schema))[0].parsed == [1, 2, 3, 10]


def test_refusals_and_cut_answers_are_failures_of_their_own(bench: Any, world: FakeProvider) -> None:
    plans = {
        "refuses": Answer(refusal="I can't help with that"),
        "filtered": Answer("the begin", finish="content_filter"),
        "cut": Answer('{"label": "the beg', finish="length"),
    }
    world.plan = lambda prompt, times: plans[prompt]
    replies = bench.live().complete(requests(*plans))
    assert [reply.failure.kind for reply in replies] == ["refusal", "refusal", "truncated"]
    assert [reply.failure.text for reply in replies] == ["I can't help with that", "the begin", '{"label": "the beg']
    assert world.asked == {"refuses": 1, "filtered": 1, "cut": 1}
    assert bench.store.spending().requests == 3
    # Without a schema a cut text is an answer that says that it was cut.
    (reply,) = bench.live().complete(requests("cut", response_schema=None))
    assert (reply.ok, reply.finish) == (True, "length")


def test_a_rejected_request_fails_alone(bench: Any, world: FakeProvider) -> None:
    rejected = Fault(400, message="this prompt is too long")
    world.plan = lambda prompt, times: rejected if prompt == "a" else echo(prompt, times)
    replies = bench.live().complete(requests("a", "b"))
    assert count_failures(replies) == {"rejected": 1}
    assert "too long" in replies[0].failure.text
    assert world.asked == {"a": 1, "b": 1}


@pytest.mark.parametrize(("status", "says"), [(401, "Check the key"), (404, "Check the model")])
def test_what_no_request_can_survive_is_an_error_and_loses_nothing(
    bench: Any, world: FakeProvider, status: int, says: str
) -> None:
    world.plan = lambda prompt, times: Fault(status) if prompt == "b" else echo(prompt, times)
    with pytest.raises(ProviderError, match=says):
        bench.live(concurrency=1).complete(requests("a", "b", "c"))
    assert world.asked == {"a": 1, "b": 1}
    world.plan = echo
    bench.live().complete(requests("a", "b", "c"))
    assert world.asked["a"] == 1
    assert bench.store.spending().at_most == pytest.approx(3 * PRICE)


def test_an_error_does_not_lose_answers_that_are_under_way(bench: Any, world: FakeProvider) -> None:
    def plan(prompt: str, times: int) -> Answer | Fault:
        if prompt == "b":
            return Fault(401)
        time.sleep(0.2)
        return echo(prompt, times)

    world.plan = plan
    with pytest.raises(ProviderError):
        bench.live(concurrency=2).complete(requests("a", "b", "c"))
    assert bench.store.lookup(bench.live().key(requests("a")[0])).ok
    assert "c" not in world.asked


def test_long_answers_of_anthropic_are_streamed(world: FakeProvider, store: Store) -> None:
    client = live("anthropic", world.url, None, store)
    (short, long) = client.complete(requests("a") + requests("a", max_tokens=20_000))
    assert long == short
    assert long.cost is None
    assert sorted(body.get("stream", False) for body in world.bodies) == [False, True]


def test_a_stream_that_breaks_off_is_no_answer(world: FakeProvider, store: Store) -> None:
    world.plan = lambda prompt, times: Fault(broken_stream=True) if times == 1 else Answer("a whole answer")
    client = live("anthropic", world.url, None, store)
    (reply,) = client.complete(requests("a", response_schema=None, max_tokens=20_000))
    assert reply.text == "a whole answer"


class TestLogProbabilities:
    def ask(self, world: FakeProvider, store: Store, protocol: str = "openai") -> Any:
        client = live(protocol, world.url, None, store)
        return client.complete(requests("a", response_schema=None, log_probabilities=3))[0]

    def test_they_come_with_alternatives_and_survive_the_store(self, world: FakeProvider, store: Store) -> None:
        world.plan = lambda prompt, times: Answer("10")
        reply = self.ask(world, store)
        assert [token.token for token in reply.log_probabilities] == ["1", "0"]
        assert reply.log_probabilities[0].log_probability == -0.25
        assert [other.token for other in reply.log_probabilities[0].alternatives] == ["x", "y", "z"]
        assert self.ask(world, store) == reply
        assert world.asked["a"] == 1

    def test_a_provider_that_leaves_them_out_says_so(self, world: FakeProvider, store: Store) -> None:
        world.plan = lambda prompt, times: Answer("10", logprobs=False)
        assert self.ask(world, store).log_probabilities == Absent(reason="asked for, but the provider gave none")

    def test_a_provider_that_withdrew_them_is_asked_without(self, world: FakeProvider, store: Store) -> None:
        gone = Fault(400, message="'logprobs' is not supported with this model")
        world.plan = lambda prompt, times: gone if "logprobs" in world.bodies[-1] else Answer("10")
        reply = self.ask(world, store)
        assert reply.text == "10"
        assert isinstance(reply.log_probabilities, Absent)
        assert "not supported with this model" in reply.log_probabilities.reason

    def test_anthropic_has_none(self, world: FakeProvider, store: Store) -> None:
        assert self.ask(world, store, "anthropic").log_probabilities == Absent(
            reason="Anthropic gives no log-probabilities"
        )


def test_requests_are_written_as_each_protocol_wants(bench: Any, world: FakeProvider) -> None:
    messages = (Message(role="system", content="Be brief."), Message(role="user", content="a"))
    bench.live().complete([Request(messages=messages, max_tokens=9, temperature=0.5, response_schema=SCHEMA)])
    (body,) = world.bodies
    if bench.protocol == "openai":
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
        assert (body["max_tokens"], body["temperature"]) == (9, 0.5)
        assert body["response_format"]["json_schema"] == {"name": "answer", "schema": SCHEMA, "strict": True}
    else:
        assert body["system"] == "Be brief."
        assert body["messages"] == [{"role": "user", "content": "a"}]
        assert "temperature" not in body
        assert body["output_config"]["format"] == {"type": "json_schema", "schema": SCHEMA}


class TestCap:
    def most(self, client: LiveClient) -> float:
        return client.estimate(requests("z")).at_most

    def test_it_is_never_exceeded_and_the_rest_is_not_sent(self, bench: Any, world: FakeProvider) -> None:
        most = self.most(bench.live())
        cap = most + 3.5 * PRICE
        replies = bench.live(max_cost=cap, concurrency=3).complete(requests(*"abcdefgh"))
        kinds = count_failures(replies)
        assert kinds == {"cost cap": 4}
        assert bench.store.spending().at_most == pytest.approx(4 * PRICE)
        assert sum(world.asked.values()) == 4

    def test_what_was_spent_before_counts(self, bench: Any, world: FakeProvider, tmp_path: Path) -> None:
        bench.live().complete(requests(*"abc"))
        most = self.most(bench.live())
        with Store(tmp_path) as reopened:
            bench.store = reopened
            (reply,) = bench.live(max_cost=most + 2 * PRICE).complete(requests("d"))
            assert reply.failure.kind == "cost cap"
            assert bench.live(max_cost=most + 3.01 * PRICE).complete(requests("d"))[0].ok
        assert world.asked["d"] == 1

    def test_the_estimate_bounds_the_cost_and_leaves_out_what_is_answered(self, bench: Any) -> None:
        client = bench.live()
        before = client.estimate(requests("a", "b", "b"))
        assert (before.requests, before.answered) == (2, 0)
        client.complete(requests("a", "b"))
        assert bench.store.spending().answered <= before.at_most
        after = client.estimate(requests("a", "b"))
        assert (after.requests, after.answered, after.dollars) == (0, 2, 0.0)

    def test_a_cap_without_a_price_is_an_error(self, bench: Any) -> None:
        with pytest.raises(ConfigError, match=r"no price for the model 'm'.*\[models\.\"m\"\]"):
            bench.live(max_cost=1.0, prices=None)


def test_it_works_where_an_event_loop_runs_already(bench: Any) -> None:
    async def notebook() -> Any:
        return bench.live().complete(requests("a"))

    assert asyncio.run(notebook())[0].ok


def test_progress_counts_every_request(bench: Any) -> None:
    class Count:
        n = 0

        def advance(self, n: int) -> None:
            self.n += n

        def note(self, **figures: float) -> None:
            pass

    for prompts in (("a", "b", "a"), ("a", "a", "c")):
        count = Count()
        bench.live().complete(requests(*prompts), count)
        assert count.n == 3


class TestFailuresThatPass:
    def test_retry_after_is_honoured(self, bench: Any, world: FakeProvider) -> None:
        limited = Fault(429, {"Retry-After": "0.3"}, "slow down")
        world.plan = lambda prompt, times: limited if times == 1 else echo(prompt, times)
        assert bench.live().complete(requests("a"))[0].ok
        assert world.times[1] - world.times[0] >= 0.3
        assert bench.store.spending().at_most == pytest.approx(PRICE)

    @pytest.mark.parametrize(
        ("fault", "may_be_billed"),
        [(Fault(500), 0), (Fault(truncated=True), 2), (Fault(200, seconds=0.5), 2)],
        ids=["500", "truncated JSON", "time-out"],
    )
    def test_they_are_asked_again_and_count_where_they_may_be_billed(
        self, bench: Any, world: FakeProvider, fault: Fault, may_be_billed: int
    ) -> None:
        world.plan = lambda prompt, times: fault if times < 3 else echo(prompt, times)
        client = bench.live(timeout=0.3 if fault.seconds else 20)
        most = client.estimate(requests("a")).at_most
        (reply,) = client.complete(requests("a"))
        assert reply.parsed == {"label": "a"}
        assert world.asked["a"] == 3
        spent = bench.store.spending()
        assert (spent.requests, spent.reserved, spent.unknown) == (1, 0, pytest.approx(may_be_billed * most))

    def test_the_cap_counts_attempts_that_nobody_heard(self, bench: Any, world: FakeProvider) -> None:
        world.plan = lambda prompt, times: Fault(200, seconds=0.5)
        most = bench.live().estimate(requests("a")).at_most
        (reply,) = bench.live(timeout=0.3, max_cost=1.5 * most).complete(requests("a"))
        assert reply.failure.kind == "cost cap"
        assert world.asked["a"] == 1
        assert bench.store.spending().at_most == pytest.approx(most)

    def test_a_provider_that_stays_away_is_a_failure_and_not_kept(self, bench: Any, world: FakeProvider) -> None:
        world.plan = lambda prompt, times: Fault(500, message="on fire") if prompt == "a" else echo(prompt, times)
        replies = bench.live().complete(requests("a", "b"))
        assert count_failures(replies) == {"unavailable": 1}
        assert "tried 4 times" in replies[0].failure.detail
        assert "on fire" in replies[0].failure.text
        world.plan = echo
        assert all(reply.ok for reply in bench.live().complete(requests("a", "b")))
        assert world.asked == {"a": 5, "b": 1}

    def test_nobody_at_the_address_costs_nothing(self, protocol: str, tmp_path: Path, store: Store) -> None:
        (reply,) = live(protocol, "http://127.0.0.1:9", tmp_path, store, attempts=2).complete(requests("a"))
        assert reply.failure.kind == "unavailable"
        assert store.spending().at_most == 0

    def test_a_server_that_answers_none_of_the_first_is_not_asked_the_others(
        self, bench: Any, world: FakeProvider
    ) -> None:
        world.plan = lambda prompt, times: Fault(503)
        with pytest.raises(ProviderError, match=r"The first \d of 6 requests were all in vain"):
            bench.live(concurrency=2, attempts=1).complete(requests(*"abcdef"))
        assert len(world.asked) < 6
        assert bench.store.spending().reserved == 0
        # One answer among the first, and all are sent.
        world.plan = lambda prompt, times: echo(prompt, times) if prompt == "a" else Fault(503)
        replies = bench.live(concurrency=2, attempts=1).complete(requests(*"abcdef"))
        assert [reply.ok for reply in replies] == [True] + [False] * 5
