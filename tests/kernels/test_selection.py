"""The k largest of each row: exact for every precision, shape and k."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.kernels import Selection, top_k, top_k_dense

PRECISIONS = [torch.float32, torch.bfloat16, torch.float16]


def agree(pre: torch.Tensor, k: int) -> None:
    values, columns = top_k(pre, k)
    expected, _ = top_k_dense(pre, k)
    assert torch.equal(values.float().sort(dim=1).values, expected.float().sort(dim=1).values)
    assert torch.equal(pre.relu().gather(1, columns), values), "columns must be those of the values"
    assert (columns.sort(dim=1).values.diff(dim=1) > 0).all(), "no column twice"


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(
    ("n", "m", "k"),
    [(3, 1, 1), (5, 7, 7), (5, 7, 1), (3, 1000, 5), (4, 1030, 9), (9, 4097, 64), (2, 66_000, 3), (64, 640, 640)],
)
def test_agrees_with_its_twin(n: int, m: int, k: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(n + m + k)
    agree(torch.randn(n, m, generator=generator).to(dtype), k)


@given(st.integers(1, 20), st.integers(1, 1500), st.data())
def test_agrees_on_ties_and_negatives(n: int, m: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, m))
    levels = data.draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(n * m)
    agree(torch.randint(-levels, levels + 1, (n, m), generator=generator).float(), k)


def test_threads_agree() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        agree(torch.randn(1100, 600, generator=torch.Generator().manual_seed(0)), 4)
    finally:
        torch.set_num_threads(before)


def test_nothing_positive_gives_zeros_at_distinct_columns() -> None:
    values, columns = top_k(-torch.ones(3, 2000), 5)
    assert not values.any()
    assert columns.unique(dim=1).shape == (3, 5)


def test_no_rows() -> None:
    values, columns = top_k(torch.empty(0, 50), 3)
    assert values.shape == columns.shape == (0, 3)


def test_nan_is_not_hidden() -> None:
    pre = torch.zeros(2, 3000)
    pre[1, 2999] = float("nan")
    assert top_k(pre, 2)[0].isnan().any()


def test_path_is_chosen_by_the_tensor_it_gets() -> None:
    values, columns = top_k(torch.empty(4, 3000, device="meta"), 3)
    assert values.device.type == columns.device.type == "meta"


def test_by_latent_lists_every_pair_once() -> None:
    indices = torch.tensor([[2, 0], [2, 3], [0, 4]])
    order, rows, bounds = Selection(indices, 6).by_latent
    assert indices.reshape(-1)[order].tolist() == [0, 0, 2, 2, 3, 4]
    assert rows.tolist() == [0, 2, 0, 1, 1, 2]
    assert bounds.tolist() == [0, 2, 2, 4, 5, 6, 6]
