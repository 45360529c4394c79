"""Requests, replies, schemas, prices, and the store by itself."""

from __future__ import annotations

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monosema.core import ConfigError, DamagedFileError, DiskFullError, RunError
from monosema.llm import Message, Price, Reply, Request, Store, Usage, prices
from monosema.llm.prices import estimate_cost, find_price, input_tokens_at_most, read_prices
from monosema.llm.protocol import request_key
from monosema.llm.structured import checked, is_strict


def request(text: str = "a", **fields: Any) -> Request:
    return Request(messages=(Message(role="user", content=text),), **fields)


class TestRequests:
    def test_equal_requests_have_equal_keys_and_any_difference_shows(self) -> None:
        schema = {"type": "object", "properties": {"a": {}, "b": {}}}
        turned = {"properties": {"b": {}, "a": {}}, "type": "object"}
        assert request_key({"model": "m"}, request(response_schema=schema)) == request_key(
            {"model": "m"}, request(response_schema=turned)
        )
        others = [
            request(),
            request("b"),
            request(max_tokens=9),
            request(temperature=0.0),
            request(seed=0),
            request(log_probabilities=1),
            request(response_schema={}),
            Request(messages=(Message(role="system", content="a"),)),
        ]
        keys = {request_key({"model": model}, each) for each in others for model in ("m", "n")}
        assert len(keys) == 2 * len(others)
        assert all(len(key) == 32 and key.isalnum() for key in keys)

    @given(text=st.text(), seed=st.none() | st.integers(), temperature=st.none() | st.floats(0, 2))
    def test_they_come_back_from_json_as_they_were(
        self, text: str, seed: int | None, temperature: float | None
    ) -> None:
        first = request(text, seed=seed, temperature=temperature, response_schema={"type": "string"})
        try:
            written = first.model_dump_json(exclude_none=True)
        except ValueError:  # half of a surrogate pair is no text
            return
        assert Request.model_validate_json(written) == first

    @pytest.mark.parametrize("fields", [{"max_tokens": 0}, {"temperature": 3.0}, {"response_schema": {"type": "x"}}])
    def test_wrong_values_are_errors(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(fields))):
            request(**fields)


class TestSchemas:
    @given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.text("xyz"), st.lists))
    def test_what_is_parsed_is_what_was_written(self, value: Any) -> None:
        asked = request(response_schema={})
        assert checked(Reply(text=json.dumps(value)), asked).parsed == value
        assert checked(Reply(text=f"```json\n{json.dumps(value)}\n```"), asked).parsed == value

    @given(text=st.text())
    def test_any_text_is_parsed_or_is_a_failure_with_that_text(self, text: str) -> None:
        reply = checked(Reply(text=text), request(response_schema={"type": "object"}))
        assert isinstance(reply.parsed, dict) if reply.ok else reply.failure is not None and reply.failure.text == text

    def test_a_deep_text_is_malformed(self) -> None:
        reply = checked(Reply(text="[" * 100_000), request(response_schema={}))
        assert reply.failure is not None
        assert reply.failure.kind == "malformed"

    def test_strict_schemas_name_all_and_allow_no_more(self) -> None:
        inner = {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}
        assert is_strict(inner)
        assert is_strict({"type": "array", "items": inner})
        assert not is_strict({"type": "array", "items": {**inner, "required": []}})
        assert not is_strict({"type": "object"})


class TestPrices:
    def test_the_table_that_comes_along_is_complete(self) -> None:
        models = read_prices(Path(prices.__file__).with_name("prices.toml"))
        assert models
        assert all(price.output >= price.input > 0 and price.batch_discount == 0.5 for price in models.values())

    def test_a_file_of_ones_own_adds_and_replaces_and_dated_versions_cost_as_their_model(self, tmp_path: Path) -> None:
        own = tmp_path / "own.toml"
        own.write_text('[models."gpt-4o-mini"]\ninput = 9\noutput = 9\n[models."mine:8b"]\ninput = 0\noutput = 0\n')
        assert find_price("gpt-4o-mini", own).input == 9
        assert find_price("gpt-4o-mini-2026-01-31", own) == find_price("gpt-4o-mini-20260131", own)
        assert find_price("mine:8b", own, 1.0).of(Usage(input_tokens=10**9, output_tokens=10**9)) == 0
        assert find_price("mine:8b-mini", own) is None
        assert find_price("claude-haiku-4-5", own) == find_price("claude-haiku-4-5")

    @pytest.mark.parametrize(
        "text", ["models = 3", "[models.m]\ninput = -1\noutput = 1", "no toml", "[models.m]\nin = 1"]
    )
    def test_a_wrong_file_is_an_error(self, tmp_path: Path, text: str) -> None:
        own = tmp_path / "own.toml"
        own.write_text(text)
        with pytest.raises(ConfigError):
            read_prices(own)
        with pytest.raises(ConfigError, match="can't be read"):
            read_prices(tmp_path / "none.toml")

    def test_long_prompts_and_batches(self) -> None:
        price = Price(input=1, output=2, batch_discount=0.5, long_prompt_tokens=100, long_input=10, long_output=20)
        assert price.of(Usage(input_tokens=99, output_tokens=1)) == pytest.approx(101e-6)
        assert price.of(Usage(input_tokens=100, output_tokens=1)) == pytest.approx(1020e-6)
        assert price.of(Usage(input_tokens=100, output_tokens=1), batch=True) == pytest.approx(510e-6)

    @given(text=st.text(max_size=200))
    def test_no_tokenizer_of_bytes_makes_more_tokens_than_the_bound(self, text: str) -> None:
        encoded = text.encode(errors="surrogatepass")
        if encoded.decode(errors="ignore") == text:
            assert input_tokens_at_most(request(text)) > len(encoded)

    def test_without_a_price_the_cost_is_absent_not_zero(self) -> None:
        estimate = estimate_cost([request("abcd" * 10)], None)
        assert (estimate.dollars, estimate.at_most) == (None, None)
        assert (estimate.input_tokens, estimate.output_tokens) == (10, 512)


class TestStore:
    def test_what_a_dead_process_set_aside_counts_as_spent(self, tmp_path: Path) -> None:
        with Store(tmp_path) as dead, dead.asking():
            assert dead.reserve("k", 1.0, None) is not None
        with Store(tmp_path) as alive, alive.asking():
            assert alive.reserve("k", 1.0, None) is not None
            with alive.asking():
                assert (alive.spending().unknown, alive.spending().reserved) == (1.0, 1.0)

    def test_one_asks_at_a_time_and_two_together_keep_the_cap(self, tmp_path: Path) -> None:
        under_way: list[int] = []

        def reserve(number: int) -> list[str | None]:
            with Store(tmp_path) as store, store.asking():
                under_way.append(number)
                time.sleep(0.05)
                assert under_way == [number]
                under_way.clear()
                return [store.reserve(f"k{number}{each}", 1.0, 5.0) for each in range(4)]

        with ThreadPoolExecutor(2) as pool:
            given_ = [one for some in pool.map(reserve, range(2)) for one in some]
        assert given_.count(None) == 3

    def test_who_waits_too_long_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("monosema.llm.store.PATIENCE", 0.05)
        with Store(tmp_path) as one, Store(tmp_path) as two, one.asking():
            with pytest.raises(RunError, match="Another command asks"), two.asking():
                pass
            with one.asking():
                assert one.spending().at_most == 0

    def test_an_answer_and_its_cost_come_together_or_not_at_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Store(tmp_path) as store:
            attempt = store.reserve("k", 1.0, None)
            assert attempt is not None

            def settle() -> None:
                with store.transaction():
                    store.charge(attempt, Usage(), 0.5)
                    store.keep("k", "m", request(), Reply(text="x"))

            def broken(*_: Any) -> None:
                raise RuntimeError

            with monkeypatch.context() as patch:
                patch.setattr(store, "keep", broken)
                with pytest.raises(RuntimeError):
                    settle()
            assert store.spending().reserved == 1.0
            settle()
            assert store.lookup("k") == Reply(text="x")
            assert store.spending().at_most == 0.5

    def test_a_file_that_is_no_store_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "language-models.sqlite").write_bytes(b"not a database" * 100)
        with pytest.raises(DamagedFileError, match=r"language-models\.sqlite"):
            Store(tmp_path)

    def test_a_folder_that_can_not_be_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError, match="file"):
            Store(tmp_path / "file" / "store")

    def test_a_full_disk_loses_nothing(self, tmp_path: Path) -> None:
        from monosema.core import DiskFullError

        with Store(tmp_path) as store:
            store.reserve("k", 1.0, None)
            store.connection.execute("pragma max_page_count = 1")
            with pytest.raises(DiskFullError, match="make room"):
                store.reserve("k" * 100_000, 1.0, None)
            assert store.spending().reserved == 1.0
        with closing(sqlite3.connect(tmp_path / "language-models.sqlite")) as connection:
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def test_a_store_on_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("sqlite3.connect", full)
    with pytest.raises(DiskFullError, match="make room"):
        Store(tmp_path)
