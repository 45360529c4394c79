from __future__ import annotations

import numpy as np
import torch

from monosema.data import TokenBatch
from monosema.evaluation.reconstruction import density_histogram
from monosema.evaluation.units import UnitSums


def batch_of(documents: list[list[int]]) -> TokenBatch:
    document = torch.tensor(documents)
    keep = document >= 0
    return TokenBatch(torch.zeros_like(document), torch.ones_like(keep), document, torch.zeros_like(document), keep)


def test_sums_are_kept_by_window_or_by_document() -> None:
    sums = UnitSums(seed=0)
    for batch in (batch_of([[-1, 0, 0, 1], [-1, 1, 1, 1]]), batch_of([[-1, 1, 2, 2]])):
        sums.begin(batch)
        sums.add("n", torch.ones(int(batch.keep.sum())))
    assert sums.unit == "windows"
    assert sums["n"].tolist() == [3, 3, 3]
    sums.begin(batch_of([[-1, *range(3, 40)]]))
    sums.add("n", torch.ones(37))
    assert sums.unit == "documents"
    assert sums["n"].tolist() == [2, 5, 2, *[1] * 37]


def test_many_units_are_drawn_in_groups_with_the_same_interval() -> None:
    sums = UnitSums(seed=0)
    rng = np.random.default_rng(0)
    values = rng.normal(1, 1, 9000)
    sums.begin_rows(9000)
    estimate = sums.ratio(values, np.ones(9000))
    assert estimate.n == 9000
    assert np.isclose(estimate.high - estimate.low, 2 * 1.96 / 9000**0.5, rtol=0.15)
    assert np.isclose(estimate.value, values.mean())


def test_latents_are_binned_by_how_often_they_fire() -> None:
    histogram = density_histogram(torch.tensor([0, 1, 100, 1000, 1000]), 1000)
    counts = dict(zip(histogram.edges, histogram.counts, strict=False))
    assert histogram.never == 1
    assert (counts[-3.0], counts[-1.0], counts[-0.25]) == (1, 1, 2)
    assert sum(histogram.counts) == 4
