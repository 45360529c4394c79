"""Commands about a run that ask one provider on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asking import PRICES
from fake_provider import FakeProvider

Command = Callable[..., tuple[int, str, str]]


class Asks:
    """Calls of one verb, all to one provider.

    Attributes:
        provider: the words that say who is asked.
        said: what the last call said beside its result.
    """

    def __init__(
        self, verb: str, folder: Path, world: FakeProvider, command: Command, protocol: str = "openai"
    ) -> None:
        self.verb, self.folder, self.world, self.command = verb, folder, world, command
        prices = folder.parent / "prices.toml"
        prices.write_text(PRICES, encoding="utf-8")
        url = f"{world.url}/v1" if protocol == "openai" else world.url
        key = ("--key-variable", "OPENAI_API_KEY") if protocol == "openai" else ()
        self.provider = ["--client", f"{protocol}:m", "--base-url", url, *key, "--prices", str(prices)]
        self.provider += ["--attempts", "3", "--listing-delay", "0"]
        self.said = ""

    def words(self, *words: str) -> list[str]:
        return [self.verb, str(self.folder), *words, *self.provider, "--json"]

    def __call__(self, *words: str) -> dict[str, Any]:
        code, out, err = self.command(*self.words(*words))
        assert code == 0, err
        self.said = err
        return dict(json.loads(out))
