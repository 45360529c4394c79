"""Welford's sums equal two passes, in whatever pieces the rows come."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.activations import Preprocessing, Welford, fit_preprocessing
from monosema.core import VectorError


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 0),
    st.floats(-1e4, 1e4),
    st.integers(0, 10**6),
)
def test_pieces_do_not_matter(sizes, offset, seed):
    rows = torch.randn(sum(sizes), 5, generator=torch.Generator().manual_seed(seed)) + offset
    sums = Welford(5)
    for piece in rows.split(sizes):
        sums.add(piece)
    exact = rows.double()
    assert sums.n == len(rows)
    assert torch.allclose(sums.mean, exact.mean(dim=0), rtol=1e-12, atol=1e-12)
    assert torch.allclose(sums.variance, exact.var(dim=0, correction=0), rtol=1e-7, atol=1e-9)
    assert sums.mean_square_norm(centred=False) == pytest.approx(float(exact.square().sum(dim=1).mean()), rel=1e-9)


def test_a_far_mean_does_not_swallow_the_variance():
    rows = torch.randn(10_000, 3) + 4096
    sums = Welford(3)
    for piece in rows.split(97):
        sums.add(piece)
    assert torch.allclose(sums.variance, rows.double().var(dim=0, correction=0), rtol=1e-9)


@pytest.mark.parametrize("center", [True, False])
def test_the_norm_becomes_the_root_of_the_width(store, center):
    change = fit_preprocessing(store, "0.resid_post", center=center)
    rows = store.read("0.resid_post", 0, store.rows)
    changed = change(rows)
    assert changed.square().sum(dim=1).mean().sqrt() == pytest.approx(32**0.5, rel=1e-4)
    assert bool((changed.mean(dim=0).abs() < 1e-4).all()) == center
    assert torch.allclose(change.inverse(changed), rows, atol=1e-5)


def test_without_scale_and_as_identity(store):
    change = fit_preprocessing(store, "0.resid_post", scale=False)
    assert change.scale == 1.0
    rows = store.read("0.resid_post", 0, 5)
    assert torch.equal(Preprocessing.identity(32)(rows), rows)


def test_a_sample_is_near_the_whole(store):
    whole = fit_preprocessing(store, "0.resid_post", sample=None)
    sample = fit_preprocessing(store, "0.resid_post", sample=1)
    assert sample.scale == pytest.approx(whole.scale, rel=0.2)


def test_rows_that_are_all_equal_are_refused(tmp_path):
    import numpy as np

    from monosema.activations import open_vectors

    np.save(tmp_path / "same.npy", np.ones((50, 4), np.float32))
    same = open_vectors(tmp_path / "same.npy")
    with pytest.raises(VectorError, match="are equal"):
        fit_preprocessing(same)
    with pytest.raises(VectorError, match="no rows in 50:50"):
        fit_preprocessing(same, rows=slice(50, None))
