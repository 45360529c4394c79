"""Counts of what was asked, and the first reason of each kind of failure."""

from __future__ import annotations

from monosema.llm import Failure, Reply
from monosema.llm.stats import RequestStats


def failed(detail: str, text: str) -> Reply:
    return Reply(failure=Failure(kind="malformed", detail=detail, text=text))


def test_a_reason_shows_how_the_reply_began() -> None:
    tally = RequestStats()
    tally.add(1, failed("not JSON", "Sure!\nThe " + "unit " * 99))
    tally.add(2, failed("another", "later"))
    assert tally.to_dict()["reasons"]["malformed"].startswith("not JSON; the reply begins: Sure! The unit unit")
    assert tally.reasons["malformed"].endswith(" …")
    assert len(tally.reasons["malformed"]) < 160


def test_a_reason_that_is_the_reply_is_said_once() -> None:
    tally = RequestStats()
    tally.add(1, failed("too long", "too long"))
    assert tally.reasons == {"malformed": "too long"}
