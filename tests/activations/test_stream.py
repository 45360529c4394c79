"""Streams from disk: every row, in an order that a resumed stream goes on with to the bit."""

from __future__ import annotations

import itertools
import json
import random

import pytest
import torch

from monosema.activations import ActivationStream, Preprocessing, StoreStream, fit_preprocessing
from monosema.core import ConfigError, RunError, SiteError, VectorError

SITE = "0.resid_post"


def small(store, **more):
    """A stream that needs several blocks."""
    return StoreStream(store, SITE, **{"batch": 64, "memory_mb": 0.03, "chunk": 32, "passes": 2, "seed": 3} | more)


@pytest.fixture(params=["several blocks", "one block", "int8"])
def make_stream(request, capture, store, tmp_path):
    """A function that makes the same stream each time."""
    match request.param:
        case "several blocks":
            return lambda: small(store)
        case "one block":
            return lambda: small(store, memory_mb=100)
        case _:
            from monosema.activations import CaptureConfig

            coded = capture(config=CaptureConfig(codec="int8", shard_rows=700), path=tmp_path / "int8")
            return lambda: small(coded)


def test_a_stream_goes_on_anywhere_to_the_bit(make_stream):
    stream = make_stream()
    assert isinstance(stream, ActivationStream)
    states, batches = [], []
    while True:
        states.append(json.dumps(stream.state_dict()))
        try:
            batches.append(stream.next_batch())
        except StopIteration:
            break
    assert len(batches) > 30
    assert max(map(len, states)) < 200
    assert all(b.dtype == torch.float32 and b.is_contiguous() and b.shape == (64, 32) for b in batches)
    for place in [0, 1, len(batches) - 1, len(batches), *random.Random(0).sample(range(len(batches)), 6)]:
        resumed = make_stream()
        resumed.load_state_dict(json.loads(states[place]))
        rest = list(resumed)
        assert len(rest) == len(batches) - place
        assert all(torch.equal(a, b) for a, b in zip(rest, batches[place:], strict=True))


def test_a_stream_can_be_turned_back(make_stream):
    stream = make_stream()
    state = stream.state_dict()
    first = [stream.next_batch() for _ in range(20)]
    stream.load_state_dict(state)
    assert all(torch.equal(batch, stream.next_batch()) for batch in first)


def keys(rows):
    return sorted(map(tuple, rows.tolist()))


def test_every_row_comes_once_a_pass_and_in_another_order(store):
    whole = store.read(SITE, 0, store.rows)
    stream = small(store)
    assert len(stream) == stream.batches == 2 * (store.rows // 64)
    rows = list(stream)
    first, second = torch.cat(rows[: len(rows) // 2]), torch.cat(rows[len(rows) // 2 :])
    left = keys(whole)
    for row in keys(first):
        left.remove(row)
    assert len(left) == store.rows % 64
    assert len(keys(second)) == len(keys(first))
    assert not torch.equal(first, second)
    assert not torch.equal(first, whole[: len(first)])


def test_sites_of_one_store_give_the_same_tokens_in_the_same_order(store):
    assert len(store.sites) == 2
    width = store.width("1.mlp.post")
    index = {tuple(row): i for i, row in enumerate(store.read(SITE, 0, store.rows).tolist())}
    other = store.read("1.mlp.post", 0, store.rows)
    pairs = zip(
        small(store, memory_mb=100), StoreStream(store, "1.mlp.post", batch=64, chunk=32, passes=2, seed=3), strict=True
    )
    for a, b in itertools.islice(pairs, 5):
        places = [index[tuple(row)] for row in a.tolist()]
        assert b.shape == (64, width)
        assert torch.equal(other[places], b)


def test_heldout_rows_are_never_given(store):
    held = set(keys(store.read(SITE, store.rows - 300, store.rows)))
    stream = small(store, rows=slice(None, -300))
    assert stream.rows == store.rows - 300
    trained = {row for batch in stream for row in keys(batch)}
    only_held = held - set(keys(store.read(SITE, 0, store.rows - 300)))
    assert only_held
    assert not trained & only_held


def test_preprocessing_is_applied(store):
    change = Preprocessing(torch.full((32,), 0.5), 3.0)
    assert torch.equal(change(small(store).next_batch()), small(store, preprocessing=change).next_batch())


def test_a_state_of_another_recipe_is_refused(store):
    state = small(store).state_dict()
    for other in (small(store, seed=4), small(store, batch=32), small(store, rows=slice(0, 999))):
        with pytest.raises(RunError, match="Resume with the recipe"):
            other.load_state_dict(state)


def test_too_few_rows_say_how_many(store):
    with pytest.raises(VectorError, match=r"has 10 rows to train on \(.* in all\), fewer than one batch of 64"):
        small(store, rows=slice(0, 10))


def test_bad_values_are_named(store):
    with pytest.raises(ConfigError, match=r"StoreStream\.batch = 0"):
        small(store, batch=0)
    with pytest.raises(ConfigError, match="several sites"):
        StoreStream(store)
    with pytest.raises(ConfigError, match="step 1"):
        small(store, rows=slice(0, 500, 2))
    with pytest.raises(SiteError, match="no site"):
        StoreStream(store, "5.resid_post")


def test_memory_stays_at_two_blocks(store):
    stream = small(store)
    largest = 0
    for _ in stream:
        assert stream._block is not None
        largest = max(largest, stream._block[1].values.nbytes)
    assert largest <= 0.03 * 2**20 / 2 + 64 * store.row_bytes(SITE)


def test_statistics_do_not_look_at_heldout_rows(store):
    rows = slice(None, -500)
    change = fit_preprocessing(store, SITE, rows=rows)
    exact = store.read(SITE, 0, store.rows - 500).double()
    assert torch.allclose(change.mean.double(), exact.mean(dim=0), atol=1e-6)
