"""Each sparse product against its dense twin, and the differentiable forms against autograd of the twins."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.kernels import (
    Selection,
    decode_active,
    decode_dense,
    encode_codes,
    encode_top_k,
    encode_top_k_dense,
    row_sums,
    row_sums_dense,
    sparse_decode,
    to_dense,
    value_products,
    value_products_dense,
)

SHAPES = [(0, 4, 5, 2), (1, 4, 5, 5), (7, 3, 2, 1), (33, 16, 600, 8), (20, 5, 40, 40)]


def codes(n: int, m: int, k: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    indices = torch.rand(n, m, generator=generator).argsort(dim=1)[:, :k]
    return torch.rand(n, k, generator=generator), indices


@pytest.mark.parametrize(("n", "d", "m", "k"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_agree_with_their_twins(n: int, d: int, m: int, k: int, dtype: torch.dtype) -> None:
    values, indices = codes(n, m, k)
    values = values.to(dtype)
    rows, grad = torch.randn(m, d, dtype=dtype), torch.randn(n, d, dtype=dtype)
    selection = Selection(indices, m)
    torch.testing.assert_close(sparse_decode(values, indices, rows), decode_dense(values, indices, rows))
    torch.testing.assert_close(value_products(grad, indices, rows), value_products_dense(grad, indices, rows))
    torch.testing.assert_close(row_sums(values, selection, grad), row_sums_dense(values, selection, grad))


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 700), st.data())
def test_products_agree_at_any_shape(n: int, d: int, m: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, min(m, 12)))
    values, indices = codes(n, m, k, seed=n + d + m)
    rows, grad = torch.randn(m, d), torch.randn(n, d)
    torch.testing.assert_close(sparse_decode(values, indices, rows), decode_dense(values, indices, rows))
    torch.testing.assert_close(value_products(grad, indices, rows), value_products_dense(grad, indices, rows))
    torch.testing.assert_close(
        row_sums(values, Selection(indices, m), grad), row_sums_dense(values, Selection(indices, m), grad)
    )


@pytest.mark.parametrize("k", [1, 5, 40])
def test_encode_agrees_with_its_twin(k: int) -> None:
    x, encoder, bias = torch.randn(30, 6), torch.randn(40, 6), torch.randn(40)
    values, indices = encode_top_k(x, encoder, bias, k)
    expected, where = encode_top_k_dense(x, encoder, bias, k)
    torch.testing.assert_close(to_dense(values, indices, 40), to_dense(expected, where, 40))


def test_encode_in_bf16_chooses_among_rounded_products() -> None:
    x, encoder, bias = torch.randn(64, 32), torch.randn(2000, 32), torch.randn(2000)
    values, indices = encode_top_k(x, encoder, bias, 8, torch.bfloat16)
    exact = (x @ encoder.T + bias).gather(1, indices)
    torch.testing.assert_close(values, exact, rtol=0.02, atol=0.15)
    best = (x @ encoder.T + bias).topk(8, dim=1).values
    assert (values.sum(dim=1) >= 0.98 * best.sum(dim=1)).all()


def test_bias_keeps_its_precision_in_bf16() -> None:
    x, encoder = torch.zeros(1, 4), torch.zeros(3, 4)
    bias = torch.tensor([1.0 + 2**-7, 257.0, -1.0])
    values, indices = encode_top_k(x, encoder, bias, 2, torch.bfloat16)
    torch.testing.assert_close(values[0], bias[indices[0]], rtol=2**-8, atol=0)


def twin(
    x: torch.Tensor, centre: torch.Tensor, encoder: torch.Tensor, bias: torch.Tensor, decoder: torch.Tensor, k: int
):
    values, indices = encode_top_k_dense(x - centre, encoder, bias, k)
    return decode_dense(values, indices, decoder)


@pytest.mark.parametrize(("n", "d", "m", "k"), [(1, 3, 2, 1), (9, 4, 6, 6), (25, 8, 700, 3)])
def test_gradients_agree_with_autograd_of_the_twin(n: int, d: int, m: int, k: int) -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = [(n, d), (d,), (m, d), (m,), (m, d)]
    one = [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]
    two = [tensor.detach().clone().requires_grad_() for tensor in one]
    weight = torch.randn(n, d, generator=generator)
    values, selection = encode_codes(*one[:4], k)
    (decode_active(values, selection, one[4]) * weight).sum().backward()
    (twin(*two, k) * weight).sum().backward()
    for mine, theirs in zip(one, two, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_silenced_latents_get_no_gradient() -> None:
    encoder = torch.ones(3, 2, requires_grad=True)
    bias = torch.full((3,), -10.0, requires_grad=True)
    values, _ = encode_codes(torch.ones(4, 2), torch.zeros(2), encoder, bias, 2)
    values.sum().backward()
    assert not encoder.grad.any()
    assert not bias.grad.any()
