"""Keys and libraries: what must never be written, and what is said where something is missing."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from asking import config, requests
from fake_provider import FakeProvider, Fault
from fake_wire import Answer

from monosema.core import ConfigError, ProviderError
from monosema.llm import LiveClient, Store


class TestKeys:
    def test_the_key_is_sent_and_never_written_or_logged(
        self, bench: Any, world: FakeProvider, tmp_path: Path, key: str, caplog: Any, capfd: Any
    ) -> None:
        caplog.set_level(logging.DEBUG)
        loud = Fault(400, message="Incorrect key", echo_key=True)
        plans = {"a": Answer(json.dumps({"label": key})), "b": loud, "c": Answer(key), "d": Fault(500, echo_key=True)}
        world.plan = lambda prompt, times: plans[prompt]
        replies = bench.live().complete(requests(*plans))
        batches = bench.batches()
        world.plan = lambda prompt, times: Answer(json.dumps({"label": key}))
        batches.send(requests("e", "f"))
        world.end(errors=1)
        batches.retrieve()
        world.plan = lambda prompt, times: Fault(401, echo_key=True)
        with pytest.raises(ProviderError) as error:
            bench.live().complete(requests("g"))
        assert any(key in sent for sent in world.keys)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert any(path.suffix == ".sqlite" for path in files)
        for path in files:
            assert key.encode() not in path.read_bytes(), path
        said = repr(replies) + str(error.value) + repr(error.value) + repr(list(batches.replies()))
        assert key not in said + caplog.text + "".join(capfd.readouterr())
        assert "[key]" in said

    def test_a_missing_key_is_an_error_that_names_the_variable(
        self, protocol: str, world: FakeProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        variable = f"{protocol.upper()}_API_KEY"
        monkeypatch.delenv(variable)
        with pytest.raises(ConfigError, match=variable):
            config(protocol, world.url).adapter()

    def test_openais_key_does_not_reach_other_servers(self, world: FakeProvider, store: Store, key: str) -> None:
        settings = config("openai", world.url, key_variable=None)
        LiveClient(settings.adapter(), store, settings).complete(requests("a"))
        assert not any(key in sent for sent in world.keys)


def test_a_missing_library_is_an_error_with_the_command(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from monosema.core import MissingExtraError

    monkeypatch.setitem(sys.modules, protocol, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'monosema\[llm\]'"):
        config(protocol, "http://127.0.0.1:9").adapter()
