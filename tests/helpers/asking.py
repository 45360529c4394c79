"""Asking the local provider, from the tests' own process or from one that will be killed.

Run as a program, it forks a process for each job that a line of its input names, so that libraries are loaded once.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import sys
from pathlib import Path
from typing import Any

from monosema.llm import Adapter, Batches, ClientConfig, LiveClient, Message, Request, Store

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


def config(protocol: str, url: str, folder: Path | None = None, **fields: Any) -> ClientConfig:
    values: dict[str, Any] = {"attempts": 4, "timeout": 20, "concurrency": 4, "listing_delay": 0.0}
    if folder is not None:
        values["prices"] = folder / "prices.toml"
        values["prices"].write_text(PRICES, encoding="utf-8")
    base_url = f"{url}/v1" if protocol == "openai" else url
    values["key_variable"] = f"{protocol.upper()}_API_KEY"
    return ClientConfig(client=f"{protocol}:m", base_url=base_url, **{**values, **fields})


def live(protocol: str, url: str, folder: Path | None, store: Store, **fields: Any) -> LiveClient:
    settings = config(protocol, url, folder, **fields)
    return LiveClient(settings.adapter(), store, settings)


def batches(protocol: str, url: str, folder: Path, store: Store, most: int | None = None, **fields: Any) -> Batches:
    settings = config(protocol, url, folder, **fields)
    adapter: Adapter = settings.adapter()
    adapter.max_requests = most or adapter.max_requests
    return Batches(adapter, store, settings)


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


def warm_up() -> None:
    """Have the libraries load what they load late, so that each fork has it."""
    import anthropic
    import openai

    nowhere: dict[str, Any] = {"base_url": "http://127.0.0.1:9", "api_key": "none", "max_retries": 0}
    turns: list[Any] = [{"role": "user", "content": "x"}]
    with anthropic.Anthropic(**nowhere) as client, openai.OpenAI(**nowhere) as other:
        calls = [
            lambda: client.messages.batches.create(requests=[]),
            lambda: client.messages.create(model="m", max_tokens=1, messages=turns),
            lambda: other.batches.retrieve("x"),
            lambda: other.chat.completions.create(model="m", messages=turns),
            lambda: other.files.create(file=("x", b"x"), purpose="batch"),
        ]
        for call in calls:
            with contextlib.suppress(anthropic.APIConnectionError, openai.APIConnectionError):
                call()


def main() -> None:
    ssl.SSLContext.load_verify_locations = lambda *_, **__: None  # type: ignore[method-assign]
    warm_up()
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
