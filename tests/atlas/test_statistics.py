from __future__ import annotations

import itertools

import numpy as np
import pytest

from monosema.atlas.statistics import BINS


def test_figures_equal_those_of_the_dense_codes(atlas, codes) -> None:
    kept = codes.dense[codes.layout.keep]
    for row in atlas.sql("select * from features order by latent"):
        values = kept[:, row["latent"]]
        active = values[values > 0]
        assert row["n_active"] == len(active)
        assert row["alive"] == (len(active) > 0)
        assert row["density"] == pytest.approx(len(active) / len(values))
        assert row["mean"] == pytest.approx(values.mean(), rel=1e-5)
        assert row["max"] == pytest.approx(values.max())
        assert row["mean_active"] == (pytest.approx(active.mean(), rel=1e-5) if len(active) else None)


def test_histograms_count_every_activation_in_its_bin(atlas, codes) -> None:
    for latent in range(atlas.n_latents):
        values = codes.dense[codes.layout.keep, latent]
        active = values[values > 0]
        histogram = atlas.feature(latent).histogram
        if not len(active):
            assert histogram is None
            continue
        edges = np.arange(BINS + 1) * float(active.max()) / BINS
        expected = [int(((active > low) & (active <= high)).sum()) for low, high in itertools.pairwise(edges)]
        assert list(histogram.counts) == expected
        assert histogram.high == pytest.approx(active.max())


def test_position_profile_is_the_density_in_each_bucket(atlas, codes) -> None:
    keep, column = codes.layout.keep, codes.layout.column
    for latent in (0, 7, 23):
        profile = atlas.feature(latent).position_profile
        for (low, high), density in zip(atlas.position_buckets, profile, strict=True):
            inside = keep & (column >= low) & (column < high)
            assert density == pytest.approx((codes.dense[inside, latent] > 0).mean(), rel=1e-5)


def test_what_is_left_out_is_counted(atlas, codes) -> None:
    assert atlas.tokens == codes.layout.keep.sum()
    assert atlas.meta["text"]["left_out"] == (~codes.layout.keep).sum()
