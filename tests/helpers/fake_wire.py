"""What providers write: completions, messages and streams, as OpenAI and Anthropic have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

READ, WRITTEN = 11, 7


@dataclass
class Answer:
    """What the model says; tokens are characters where log-probabilities are asked for."""

    text: str = ""
    finish: str = "stop"
    refusal: str | None = None
    logprobs: bool = True


def openai_completion(body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    logprobs = None
    if body.get("logprobs") and answer.logprobs:
        top = [{"token": letter, "logprob": -0.5, "bytes": None} for letter in "xyz"[: body["top_logprobs"]]]
        logprobs = {
            "content": [{"token": c, "logprob": -0.25, "bytes": None, "top_logprobs": top} for c in answer.text],
            "refusal": None,
        }
    message = {"role": "assistant", "content": None if answer.refusal else answer.text, "refusal": answer.refusal}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": f"{body['model']}-2026-01-01",
        "choices": [{"index": 0, "finish_reason": answer.finish, "message": message, "logprobs": logprobs}],
        "usage": {"prompt_tokens": READ, "completion_tokens": WRITTEN, "total_tokens": READ + WRITTEN},
    }


def anthropic_message(body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    reasons = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
    return {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": f"{body['model']}-20260101",
        "content": [{"type": "text", "text": answer.refusal or answer.text}],
        "stop_reason": "refusal" if answer.refusal else reasons[answer.finish],
        "stop_sequence": None,
        "usage": {"input_tokens": READ - 4, "cache_read_input_tokens": 4, "output_tokens": WRITTEN},
    }


def openai_events(body: dict[str, Any], answer: Answer) -> Iterator[str]:
    whole = openai_completion(body, answer)
    choice = whole["choices"][0]
    base = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": whole["model"]}
    tokens = (choice["logprobs"] or {}).get("content")
    for place, letter in enumerate(answer.text):
        logprobs = {"content": [tokens[place]]} if tokens else None
        delta = {"index": 0, "delta": {"content": letter}, "finish_reason": None, "logprobs": logprobs}
        yield f"data: {json.dumps({**base, 'choices': [delta]})}\n\n"
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    yield f"data: {json.dumps({**base, 'choices': [end]})}\n\n"
    yield f"data: {json.dumps({**base, 'choices': [], 'usage': whole['usage']})}\n\n"
    yield "data: [DONE]\n\n"


def anthropic_events(body: dict[str, Any], answer: Answer) -> Iterator[str]:
    whole = anthropic_message(body, answer)
    start = {**whole, "content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    events.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    for letter in answer.text:
        delta = {"type": "text_delta", "text": letter}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events.append({"type": "content_block_stop", "index": 0})
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": stop, "usage": {"output_tokens": WRITTEN}})
    events.append({"type": "message_stop"})
    for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
