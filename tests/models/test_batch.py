"""Texts that join and leave a running batch are written as if each were alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monosema.core import AnomalyError
from monosema.models import (
    AdaptedModel,
    AttentionConfig,
    Batch,
    GenerationConfig,
    Piece,
    Role,
    RotaryConfig,
    Row,
    Transformer,
    TransformerConfig,
    byte_tokenizer,
    random_model,
    read_prompt,
)


def windowed() -> Transformer:
    """Rotary positions, one layer that sees four tokens and one that sees all."""
    kinds = [AttentionConfig(scale=0.4, rotary=RotaryConfig(dims=6), window=window) for window in (4, None)]
    return random_model(
        TransformerConfig(
            family="llama", d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, d_head=8, d_mlp=24, vocab=259, context=48,
            attention=tuple(kinds),
        )
    )  # fmt: skip


MODELS = {"windowed": windowed(), "plain": random_model(seed=5)}
SETTINGS: list[dict[str, Any]] = [
    {"max_new_tokens": 6},
    {"max_new_tokens": 12, "temperature": 1.3, "seed": 3},
    {"max_new_tokens": 9, "temperature": 0.8, "top_k": 20, "seed": 4},
    {"max_new_tokens": 1, "temperature": 1.0, "top_p": 0.9},
    {"max_new_tokens": 24, "temperature": 2.0, "stop": ("e", "a"), "seed": 5},
]
PROMPTS = ["abc", "the cat sat on the mat", "x", "I said: do not go"]


def row_of(model: Any, prompt: str, index: int = 0, leader: Row | None = None, **changes: Any) -> Row:
    config = GenerationConfig(**changes)
    return Row(model, read_prompt(prompt, model.tokenizer, config), config, index, leader=leader)


def drain(batch: Batch, pieces: list[Piece] | None = None) -> None:
    while batch.rows:
        rows = batch.step()
        if pieces is not None:
            pieces += [row.piece() for row in rows]
        batch.leave([row for row in rows if row.ended])


arrivals = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(PROMPTS), st.integers(0, len(SETTINGS) - 1)), min_size=1, max_size=6
)


@settings(max_examples=12, deadline=None)
@given(kind=st.sampled_from(list(MODELS)), arrivals=arrivals, cached=st.booleans())
def test_rows_that_come_and_go_are_written_as_if_alone(
    kind: str, arrivals: list[tuple[int, str, int]], cached: bool
) -> None:
    model, batch, pieces = MODELS[kind], Batch(MODELS[kind], use_cache=cached), list[Piece]()
    rows = [row_of(model, prompt, index, **SETTINGS[which]) for index, (_, prompt, which) in enumerate(arrivals)]
    for (pause, _, _), row in zip(arrivals, rows, strict=True):
        for _ in range(pause):
            given = batch.step()
            pieces += [one.piece() for one in given]
            batch.leave([one for one in given if one.ended])
        batch.join([row])
    drain(batch, pieces)
    for index, ((_, prompt, which), row) in enumerate(zip(arrivals, rows, strict=True)):
        alone = model.generate(prompt, **SETTINGS[which])
        assert row.result() == alone
        assert "".join(piece.text for piece in pieces if piece.row == index) == alone.text


def test_a_model_without_a_cache_gives_the_same(foreign: Any) -> None:
    module, folder = foreign("llama")
    model = AdaptedModel(module, str(folder), byte_tokenizer())
    batch = Batch(model)
    first, second = row_of(model, "abc", max_new_tokens=6), row_of(model, "a longer one", max_new_tokens=3)
    batch.join([first])
    batch.step()
    batch.join([second])
    drain(batch)
    assert first.result() == model.generate("abc", max_new_tokens=6)
    assert second.result() == model.generate("a longer one", max_new_tokens=3)


def test_edits_are_those_of_the_rows_of_each_pass() -> None:
    model = MODELS["plain"]
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    strengths: dict[int, float] = {}

    @contextlib.contextmanager
    def around(rows: Sequence[Row]) -> Iterator[None]:
        strength = torch.tensor([strengths[id(row)] for row in rows])[:, None, None]
        with model.edit("0.resid_post", lambda x: x + strength * direction):
            yield

    batch, rows = Batch(model, around=around), []
    for strength in (0.0, 3.0, -2.0):
        rows.append(row_of(model, "abc", max_new_tokens=8, temperature=1.0))
        strengths[id(rows[-1])] = strength
        batch.join(rows[-1:])
        batch.step()
    drain(batch)
    for strength, row in zip((0.0, 3.0, -2.0), rows, strict=True):
        with model.edit("0.resid_post", lambda x, by=strength: x + by * direction):
            assert row.result() == model.generate("abc", max_new_tokens=8, temperature=1.0)
    assert len({tuple(row.written) for row in rows}) == 3
    assert len(model.hooks) == 0


def test_the_roles_of_all_that_was_read_are_known_in_each_pass() -> None:
    model, seen = MODELS["plain"], []

    def look(x: torch.Tensor, context: Any) -> torch.Tensor:
        past = context.past_roles
        seen.append((None if past is None else past.tolist(), context.roles.tolist()))
        return x

    with model.attach("0.resid_post", look):
        model.generate(["a", "bcd"], max_new_tokens=2)
    padding, special, _, prompt, generated = Role
    read = [[padding, padding, special, prompt], [special, prompt, prompt, prompt]]
    assert seen == [(None, read), (read, [[generated], [generated]])]


def test_a_row_that_follows_is_given_its_leaders_tokens_and_logits_of_its_own() -> None:
    model = MODELS["plain"]

    @contextlib.contextmanager
    def around(rows: Sequence[Row]) -> Iterator[None]:
        steered = torch.tensor([row.leader is None for row in rows])[:, None, None]
        with model.edit("0.resid_post", lambda x: x + 2.0 * steered):
            yield

    leader = row_of(model, "abc", max_new_tokens=5, temperature=1.0)
    follower = row_of(model, "abc", max_new_tokens=5, temperature=1.0, leader=leader)
    batch = Batch(model, around=around)
    batch.join([leader, follower])
    batch.step()
    assert leader.logits is not None
    assert follower.logits is not None
    ids = torch.tensor([leader.prompt.ids])
    torch.testing.assert_close(follower.logits, model(ids)[0, -1])
    assert not torch.allclose(leader.logits, follower.logits)
    drain(batch)
    assert follower.written == leader.written
    assert follower.finish == leader.finish == "length"


def test_what_is_no_number_ends_its_own_row_only() -> None:
    model, spoilt = MODELS["plain"], set[int]()

    @contextlib.contextmanager
    def around(rows: Sequence[Row]) -> Iterator[None]:
        factor = torch.tensor([float("nan") if id(row) in spoilt else 1.0 for row in rows])[:, None, None]
        with model.edit("1.resid_post", lambda x: x * factor):
            yield

    good, bad = row_of(model, "abc", max_new_tokens=6), row_of(model, "abc", max_new_tokens=6)
    batch = Batch(model, around=around)
    batch.join([good, bad])
    batch.step()
    spoilt.add(id(bad))
    drain(batch)
    assert good.result() == model.generate("abc", max_new_tokens=6)
    assert isinstance(bad.failure, AnomalyError)
    assert len(bad.written) == 1


def test_a_pass_that_raises_gives_nobody_a_token_and_all_can_go_on() -> None:
    model, broken = MODELS["windowed"], [False]

    @contextlib.contextmanager
    def around(rows: Sequence[Row]) -> Iterator[None]:
        def change(x: torch.Tensor) -> torch.Tensor:
            if broken[0] and len(rows) == 2:
                raise RuntimeError("broken")
            return x

        with model.edit("1.resid_mid", change):
            yield

    rows = [row_of(model, prompt, max_new_tokens=8, temperature=1.0) for prompt in ("abc", "a longer one", "x")]
    batch = Batch(model, around=around)
    batch.join(rows[:2])
    batch.step()
    batch.join(rows[2:])
    broken[0] = True
    with pytest.raises(RuntimeError, match="broken"):
        batch.step()
    assert [len(row.written) for row in rows] == [1, 1, 0]
    broken[0] = False
    drain(batch)
    for row, prompt in zip(rows, ("abc", "a longer one", "x"), strict=True):
        assert row.result() == model.generate(prompt, max_new_tokens=8, temperature=1.0)
