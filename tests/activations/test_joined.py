"""Rows of several sites side by side: the same tokens, each site in its own units."""

from __future__ import annotations

import pytest
import torch

from monosema.activations import (
    ActivationStream,
    JoinedStream,
    Preprocessing,
    StoreStream,
    VectorStore,
    fit_preprocessing,
    open_vectors,
)
from monosema.core import ConfigError, RunError, VectorError

SITES = ("0.resid_post", "1.mlp.post")
OPTIONS = {"batch": 64, "chunk": 32, "seed": 3}


def joined(store, memory_mb: float = 100, **more) -> JoinedStream:
    return JoinedStream.over([(store, site) for site in SITES], memory_mb=memory_mb, **{**OPTIONS, **more})


@pytest.mark.parametrize("memory_mb", [100, 0.08])
def test_each_part_of_a_row_is_the_same_token(store, memory_mb):
    stream = joined(store, memory_mb, passes=2)
    assert isinstance(stream, ActivationStream)
    assert stream.d_in == sum(stream.widths) == sum(store.width(site) for site in SITES)
    whole = torch.cat([store.read(site, 0, store.rows) for site in SITES], dim=1)
    number = 0
    for batch in stream:
        distances = torch.cdist(batch.double(), whole.double())
        assert float(distances.min(dim=1).values.max()) < 1e-4
        number += 1
    assert number == stream.batches == 2 * (store.rows // 64)


def test_goes_on_where_it_was(store):
    stream, again = joined(store), joined(store)
    for _ in range(3):
        stream.next_batch()
    again.load_state_dict(stream.state_dict())
    assert torch.equal(stream.next_batch(), again.next_batch())
    with pytest.raises(RunError, match="another seed"):
        joined(store, seed=4).load_state_dict(stream.state_dict())


def test_each_site_has_its_own_units(store):
    fits = [fit_preprocessing(store, site) for site in SITES]
    raw, scaled = joined(store), joined(store, preprocessing=fits)
    assert raw.preprocessing is None
    own = scaled.preprocessing
    assert own is not None
    x = raw.next_batch()
    y = scaled.next_batch()
    torch.testing.assert_close(own(x), y)
    torch.testing.assert_close(own.inverse(y), x)
    first, second = scaled.widths
    assert own.scale.unique().numel() == 2
    torch.testing.assert_close(own.scale[:first], torch.full((first,), fits[0].scale))
    torch.testing.assert_close(own.mean[first:], fits[1].mean)
    assert second == len(fits[1].mean)


@pytest.mark.parametrize("change", [{"batch": 32}, {"seed": 4}, {"rows": slice(64, None)}, {"memory_mb": 0.03}])
def test_another_order_is_refused_with_both(store, change):
    one = StoreStream(store, SITES[0], **OPTIONS)
    other = StoreStream(store, SITES[1], **{**OPTIONS, **change})
    with pytest.raises(ConfigError, match=r"differ, .* for .*0\.resid_post and .* for .*1\.mlp\.post"):
        JoinedStream([one, other])


def test_stores_of_other_tokens_are_refused(store, capture, tmp_path):
    other = capture(path=tmp_path / "other")
    JoinedStream([StoreStream(store, SITES[0], **OPTIONS), StoreStream(other, SITES[0], **OPTIONS)])
    tokens = other.tokens

    class Changed:
        def __getattr__(self, name):
            return getattr(other, name)

        digest = "changed"

        def tokens(self, start=0, stop=None):
            values = tokens(start, stop)
            values[5] += 1
            return values

    with pytest.raises(VectorError, match=r"row 5 is another token"):
        JoinedStream([StoreStream(store, SITES[0], **OPTIONS), StoreStream(Changed(), SITES[0], **OPTIONS)])


def test_vectors_without_tokens_are_joined(tmp_path):
    from numpy import save

    stores: list[VectorStore] = []
    for number, width in enumerate((4, 6)):
        rows = torch.arange(200.0).unsqueeze(1).expand(-1, width) + number * 1000
        save(tmp_path / f"{number}.npy", rows.numpy())
        stores.append(open_vectors(tmp_path / f"{number}.npy"))
    fits = [None, Preprocessing(torch.zeros(6), 2.0)]
    stream = JoinedStream.over([(store, "vectors") for store in stores], preprocessing=fits, batch=50)
    batch = stream.next_batch()
    assert batch.shape == (50, 10)
    torch.testing.assert_close(2 * (batch[:, 0] + 1000), batch[:, 9])


def test_no_site_is_refused():
    with pytest.raises(ConfigError, match="a stream for each site"):
        JoinedStream([])
