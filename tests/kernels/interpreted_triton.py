"""The GPU kernels against their dense twins, run by Triton's interpreter on the CPU.

Collected by `test_triton` in a process of its own, since Triton reads TRITON_INTERPRET when it is imported. The
interpreter's product of bf16 matrices is wrong (it multiplies their bits), so float16 stands for 16 bits there.
"""

from __future__ import annotations

import pytest
import torch

from monosema.kernels import (
    Selection,
    decode_dense,
    encode,
    row_sums_dense,
    sparse,
    to_dense,
    triton_encode,
    triton_sparse,
    value_products_dense,
)

SHAPES = [(1, 4, 5, 5), (7, 3, 2, 1), (19, 20, 70, 9)]
PRECISIONS = [torch.float32, torch.bfloat16]


def codes(n: int, m: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n + m + k)
    return torch.rand(n, k, generator=generator), torch.rand(n, m, generator=generator).argsort(dim=1)[:, :k]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected.to(found.dtype))


@pytest.mark.parametrize(("n", "d", "m", "k"), SHAPES)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_sparse_products_agree_with_their_twins(n: int, d: int, m: int, k: int, dtype: torch.dtype) -> None:
    values, indices = codes(n, m, k)
    rows, grad = torch.randn(m, d).to(dtype), torch.randn(n, d).to(dtype)
    exact_rows, exact_grad, selection = rows.float(), grad.float(), Selection(indices, m)
    close(triton_sparse.sparse_decode(values, indices, rows), decode_dense(values, indices, exact_rows))
    close(triton_sparse.value_products(grad, indices, rows), value_products_dense(exact_grad, indices, exact_rows))
    close(triton_sparse.row_sums(values, selection, grad), row_sums_dense(values, selection, exact_grad))


def test_rows_wider_than_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_sparse, "WIDEST", 8)
    values, indices = codes(3, 6, 2)
    rows, grad, selection = torch.randn(6, 21), torch.randn(3, 21), Selection(indices, 6)
    close(triton_sparse.sparse_decode(values, indices, rows), decode_dense(values, indices, rows))
    close(triton_sparse.value_products(grad, indices, rows), value_products_dense(grad, indices, rows))
    close(triton_sparse.row_sums(values, selection, grad), row_sums_dense(values, selection, grad))


def test_latents_that_no_row_keeps_get_zero() -> None:
    selection = Selection(torch.tensor([[3], [3]]), 5)
    sums = triton_sparse.row_sums(torch.ones(2, 1), selection, torch.ones(2, 4))
    assert sums.sum(dim=1).tolist() == [0, 0, 0, 8, 0]


@pytest.mark.parametrize(
    ("n", "d", "m", "k", "shares"),
    [
        (1, 3, 5, 5, 1),
        (17, 20, 150, 9, 1),
        (17, 33, 150, 9, 3),
        (5, 4, 300, 1, 2),
        (3, 4, 600, 256, 1),
        (2, 1, 1, 1, 1),
    ],
)
@pytest.mark.parametrize("matmul_dtype", [None, torch.float16])
def test_encode_chooses_the_k_largest(
    n: int, d: int, m: int, k: int, shares: int, matmul_dtype: torch.dtype | None
) -> None:
    generator = torch.Generator().manual_seed(n + m)
    x, encoder = torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator)
    bias = torch.randn(m, generator=generator)
    values, indices = triton_encode.encode_top_k(
        x, encoder, bias, k, matmul_dtype, rows=16, tile=16, depth=16, shares=shares
    )
    rounded = matmul_dtype or torch.float32
    pre = (x.to(rounded).float() @ encoder.to(rounded).float().T + bias).relu()
    best = pre.topk(k, dim=1)
    torch.testing.assert_close(values.sort(dim=1, descending=True).values, best.values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(to_dense(values, indices, m), pre * to_dense((values > 0).float(), indices, m))


def test_encode_shrinks_its_lists_many_times() -> None:
    """Rising pre-activations pass the bar at every tile: the worst case for the lists."""
    x, encoder = torch.ones(3, 1), torch.arange(1.0, 401).unsqueeze(1)
    values, indices = triton_encode.encode_top_k(x, encoder, torch.zeros(400), 5, rows=16, tile=16, depth=16, shares=1)
    assert [sorted(row) for row in indices.tolist()] == [[395, 396, 397, 398, 399]] * 3
    assert torch.equal(values, indices + 1.0)


def test_encode_takes_just_k_of_equal_values() -> None:
    x, encoder = torch.ones(2, 1), torch.ones(90, 1)
    values, indices = triton_encode.encode_top_k(x, encoder, torch.zeros(90), 7, rows=16, tile=16, depth=16, shares=2)
    assert torch.equal(values, torch.ones(2, 7))
    assert all(len(set(row)) == 7 for row in indices.tolist())


def test_encode_of_rows_with_few_above_zero_pads_with_zero() -> None:
    bias = torch.full((40,), -1.0)
    bias[[3, 33]] = torch.tensor([0.5, 2.0])
    values, indices = triton_encode.encode_top_k(
        torch.zeros(2, 4), torch.zeros(40, 4), bias, 5, rows=16, tile=16, depth=16, shares=2
    )
    assert torch.equal(to_dense(values, indices, 40), bias.relu().expand(2, 40))
    assert ((indices >= 0) & (indices < 40)).all()


def test_encode_passes_on_what_is_not_a_number() -> None:
    x = torch.tensor([[1.0], [float("nan")]])
    values, _ = triton_encode.encode_top_k(x, torch.ones(4, 1), torch.zeros(4), 2, rows=16, tile=16, depth=16)
    assert values.isnan().tolist() == [[False, False], [True, True]]


def test_the_device_of_the_tensors_decides_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    values, indices = codes(4, 30, 3)
    rows, grad, x, bias = torch.randn(30, 6), torch.randn(4, 6), torch.randn(4, 6), torch.randn(30)
    called = []

    def as_if_on_gpu(*tensors: torch.Tensor) -> bool:
        called.append(len(tensors))
        return True

    for module in (sparse, encode):
        monkeypatch.setattr(module, "on_gpu", as_if_on_gpu)
    close(sparse.sparse_decode(values, indices, rows), decode_dense(values, indices, rows))
    close(sparse.value_products(grad, indices, rows), value_products_dense(grad, indices, rows))
    selection = Selection(indices, 30)
    close(sparse.row_sums(values, selection, grad), row_sums_dense(values, selection, grad))
    found, where = encode.encode_top_k(x, rows, bias, 3)
    expected, there = encode.encode_top_k_dense(x, rows, bias, 3)
    close(to_dense(found, where, 30), to_dense(expected, there, 30))
    assert len(called) == 4
