"""Asking the local provider, from the tests' own process or from one that will be killed.

Run as a program, it forks a process for each job that a line of its input names, so that libraries are loaded once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
from pathlib import Path
from typing import Any

from monosema.llm import (
    AnthropicConfig,
    AnthropicProvider,
    Batches,
    BatchesConfig,
    LiveClient,
    LiveConfig,
    Message,
    OpenAIConfig,
    OpenAIProvider,
    PriceTable,
    Provider,
    Request,
    RetryPolicy,
    Store,
)

QUICK = RetryPolicy(attempts=4, first_wait=0.02, longest_wait=0.05, timeout=20)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
    "additionalProperties": False,
}
PRICES = "as_of = 'test'\n[models.m]\ninput = 1000.0\noutput = 1000.0\nbatch_discount = 0.5\n"


def requests(*prompts: str, **fields: Any) -> list[Request]:
    values = {"response_schema": SCHEMA, "max_tokens": 50, **fields}
    return [Request(messages=(Message(role="user", content=prompt),), **values) for prompt in prompts]


def provider(protocol: str, url: str, **fields: Any) -> Provider:
    if protocol == "openai":
        return OpenAIProvider(OpenAIConfig(model="m", base_url=f"{url}/v1", key_variable="OPENAI_API_KEY", **fields))
    return AnthropicProvider(AnthropicConfig(model="m", base_url=url, **fields))


def prices(folder: Path) -> PriceTable:
    path = folder / "prices.toml"
    path.write_text(PRICES, encoding="utf-8")
    return PriceTable.load(path)


def live(protocol: str, url: str, folder: Path, store: Store, **fields: Any) -> LiveClient:
    config = LiveConfig(**{"patience": QUICK, "concurrency": 4, **fields})
    return LiveClient(provider(protocol, url), store, prices(folder), config)


def batches(protocol: str, url: str, folder: Path, store: Store, **fields: Any) -> Batches:
    config = BatchesConfig(**{"patience": QUICK, "listing_delay": 0.0, **fields})
    return Batches(provider(protocol, url), store, prices(folder), config)


def work(job: dict[str, Any]) -> None:
    folder = Path(job["folder"])
    with Store(folder) as store:
        if job["phase"] == "live":
            live(job["protocol"], job["url"], folder, store, concurrency=1).complete(requests(*job["prompts"]))
            return
        client = batches(job["protocol"], job["url"], folder, store)
        if job["phase"] == "send":
            client.send(requests(*job["prompts"]))
        else:
            getattr(client, job["phase"])()


async def warm_up() -> None:
    """Have the libraries load what they load late, so that each fork has it."""
    import anthropic
    import openai

    nowhere: dict[str, Any] = {"base_url": "http://127.0.0.1:9", "api_key": "none", "max_retries": 0}
    turns: list[Any] = [{"role": "user", "content": "x"}]
    with anthropic.Anthropic(**nowhere) as client, openai.OpenAI(**nowhere) as other:
        calls = [
            lambda: client.messages.batches.create(requests=[]),
            lambda: other.batches.retrieve("x"),
            lambda: other.files.create(file=("x", b"x"), purpose="batch"),
        ]
        for call in calls:
            with contextlib.suppress(anthropic.APIConnectionError, openai.APIConnectionError):
                call()
    async with anthropic.AsyncAnthropic(**nowhere) as client, openai.AsyncOpenAI(**nowhere) as other:
        with contextlib.suppress(anthropic.APIConnectionError):
            await client.messages.create(model="m", max_tokens=1, messages=turns)
        with contextlib.suppress(openai.APIConnectionError):
            await other.chat.completions.create(model="m", messages=turns)


def main() -> None:
    ssl.SSLContext.load_verify_locations = lambda *_, **__: None  # type: ignore[method-assign]
    asyncio.run(warm_up())
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                work(json.loads(line))
            finally:
                os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
