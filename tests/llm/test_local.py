"""A local model as a client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monosema.interpretation.prompts import judgement_schema
from monosema.llm import LocalClient, Message, Request, Store, count_failures
from monosema.models import load_model


@pytest.fixture(scope="module")
def model(tiny_directory: Path) -> Any:
    return load_model(str(tiny_directory), dtype="float32")


def request(text: str, **fields: Any) -> Request:
    return Request(messages=(Message(role="user", content=text),), **{"max_tokens": 6, **fields})


def test_it_answers_in_order_and_each_as_if_alone(model: Any) -> None:
    client = LocalClient(model, batch_size=2)
    asked = [request("a"), request("something longer"), request("bc", temperature=1.0, seed=3), request("d")]
    replies = client.complete(asked)
    for one, reply in zip(asked, replies, strict=True):
        assert LocalClient(model).complete([one]) == [reply]
    assert [reply.usage.input_tokens for reply in replies] == [4, 19, 5, 4]
    assert {reply.cost for reply in replies} == {0.0}
    other = client.complete([request("bc", temperature=1.0, seed=4)])[0]
    assert other.text != replies[2].text


@torch.no_grad()
def test_log_probabilities_are_those_of_the_model(model: Any) -> None:
    (reply,) = LocalClient(model).complete([request("abc", log_probabilities=3)])
    prompt = model.tokenizer.encode("abc\n\n", True)
    written = model.generate(prompt, max_new_tokens=6).tokens
    assert len(reply.log_probabilities) == len(written)
    read = list(prompt)
    for token, said in zip(written, reply.log_probabilities, strict=True):
        logs = model(torch.tensor([read]))[0, -1].log_softmax(-1)
        assert said.log_probability == pytest.approx(float(logs[token]), abs=1e-4)
        # Greedy: what was written is the likeliest.
        assert said.alternatives[0].token == said.token
        assert len(said.alternatives) == 3
        read.append(token)


def test_answers_are_kept(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path) as store:
        first = LocalClient(model, store).complete([request("a"), request("b")])
        monkeypatch.setattr(type(model), "generate", lambda *_, **__: pytest.fail("asked twice"))
        assert LocalClient(model, store).complete([request("b"), request("a"), request("a")]) == [
            first[1],
            first[0],
            first[0],
        ]
        assert store.spending().at_most == 0


def test_a_model_that_can_not_write_json_fails_and_is_counted(model: Any) -> None:
    # No form can promise what this schema asks for.
    schema = {"type": "object", "minProperties": 1}
    asked = [
        request("a", response_schema=schema, temperature=1.0, seed=0),
        request("a", response_schema=schema),
    ]
    replies = LocalClient(model, malformed_attempts=2).complete(asked)
    assert set(count_failures(replies)) <= {"malformed", "truncated"}
    assert all(reply.failure is not None and reply.failure.text == reply.text for reply in replies)


def test_what_does_not_fit_the_context_is_rejected_alone(model: Any) -> None:
    replies = LocalClient(model).complete([request("x" * 500), request("a")])
    assert count_failures(replies) == {"rejected": 1}
    assert "context of 128" in replies[0].failure.detail
    # Here is room for the question alone.
    (reply,) = LocalClient(model).complete([request("x" * 110, response_schema=judgement_schema(5))])
    assert count_failures([reply]) == {"rejected": 1}
    assert replies[1].ok or replies[1].failure.kind == "malformed"
