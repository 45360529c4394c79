"""Ragged codes: every kernel against its readable twin, sparse against dense, edges, and exactness of the choice."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.kernels import (
    Full,
    Ragged,
    decode_active,
    encode_above,
    encode_above_dense,
    encode_active,
    encode_batch,
    encode_batch_top_k,
    encode_batch_top_k_dense,
    functions,
    ragged_decode,
    ragged_decode_dense,
    ragged_row_sums,
    ragged_row_sums_dense,
    ragged_value_products,
    ragged_value_products_dense,
)

sizes = st.tuples(st.integers(0, 40), st.integers(1, 12), st.integers(1, 60))


def matrices(n: int, d: int, m: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, encoder = torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator)
    return x, encoder, 0.3 * torch.randn(m, generator=generator), torch.rand(m, generator=generator) * 2 - 0.5


def some(n: int, m: int, seed: int = 0) -> tuple[torch.Tensor, Ragged]:
    """Values and places: rows of any number, empty ones too."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(n, m, generator=generator) * (torch.rand(n, m, generator=generator) < 0.2)
    dense[::3] = 0
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), (dense != 0).sum(dim=1).cumsum(0)])
    return dense[dense != 0], Ragged((dense != 0).nonzero()[:, 1], starts, m)


@given(size=sizes, seed=st.integers(0, 5), with_floor=st.booleans())
def test_above_the_floor_is_the_twin(size: tuple[int, int, int], seed: int, with_floor: bool) -> None:
    x, encoder, bias, floor = matrices(*size, seed)
    values, active = encode_above(x, encoder, bias, floor if with_floor else None)
    expected = encode_above_dense(x, encoder, bias, floor if with_floor else None)
    torch.testing.assert_close(active.dense(values), expected, rtol=1e-4, atol=1e-5)
    assert len(active) == size[0]
    for row in range(size[0]):
        latents = active.latents[active.starts[row] : active.starts[row + 1]]
        assert (latents.diff() > 0).all(), "latents rise within a row"


def test_bf16_products_keep_what_is_above() -> None:
    x, encoder, bias, _ = matrices(50, 16, 300)
    values, active = encode_above(x, encoder, bias, matmul_dtype=torch.bfloat16)
    assert values.dtype == torch.float32
    expected = encode_above_dense(x, encoder, bias)
    assert float((active.dense(values) - expected).abs().max()) < 0.05 * float(expected.max())


def test_blocks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from monosema.kernels import ragged_encode

    x, encoder, bias, _ = matrices(130, 8, 40)
    whole, active = encode_above(x, encoder, bias)
    monkeypatch.setattr(ragged_encode, "BLOCK_BYTES", 40 * 4 * 17)
    monkeypatch.setattr(ragged_encode, "ROWS_PER_THREAD", 5)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    parts, again = encode_above(x, encoder, bias)
    torch.testing.assert_close(whole, parts)
    assert torch.equal(active.latents, again.latents)
    assert torch.equal(active.starts, again.starts)


@given(size=sizes, seed=st.integers(0, 5), k=st.integers(1, 70))
def test_the_largest_of_the_batch_are_exact(size: tuple[int, int, int], seed: int, k: int) -> None:
    x, encoder, bias, _ = matrices(*size, seed)
    k = min(k, size[2])
    values, active = encode_batch_top_k(x, encoder, bias, k)
    expected = encode_batch_top_k_dense(x, encoder, bias, k)
    torch.testing.assert_close(active.dense(values), expected, rtol=1e-4, atol=1e-5)
    assert len(values) == int((expected > 0).sum())


def test_largest_of_a_batch_where_a_few_rows_mislead() -> None:
    """The rows that the floor is foreseen from are far above the others: the floor must come down."""
    x = torch.rand(640, 4)
    x[::10] *= 100
    encoder, bias = torch.rand(30, 4), torch.zeros(30)
    values, active = encode_batch_top_k(x, encoder, bias, 12)
    assert len(values) == 640 * 12
    torch.testing.assert_close(active.dense(values), encode_batch_top_k_dense(x, encoder, bias, 12))


def test_equal_values_at_the_border_fill_up_to_the_number() -> None:
    values, active = encode_batch_top_k(torch.ones(5, 2), torch.ones(7, 2), torch.zeros(7), 3)
    assert len(values) == 15
    assert active.rows.tolist() == [0] * 7 + [1] * 7 + [2]


@given(n=st.integers(0, 30), m=st.integers(1, 40), seed=st.integers(0, 5))
def test_products_are_their_twins(n: int, m: int, seed: int) -> None:
    values, active = some(n, m, seed)
    generator = torch.Generator().manual_seed(seed)
    rows, source = torch.randn(m, 7, generator=generator), torch.randn(n, 7, generator=generator)
    pairs = [
        (ragged_decode, ragged_decode_dense, (values, active, rows)),
        (ragged_value_products, ragged_value_products_dense, (source, active, rows)),
        (ragged_row_sums, ragged_row_sums_dense, (values, active, source)),
    ]
    for fast, slow, arguments in pairs:
        torch.testing.assert_close(fast(*arguments), slow(*arguments), rtol=1e-4, atol=1e-5)


def test_value_products_in_double_precision() -> None:
    _, active = some(20, 30)
    rows, source = torch.randn(30, 7).double(), torch.randn(20, 7).double()
    torch.testing.assert_close(
        ragged_value_products(source, active, rows), ragged_value_products_dense(source, active, rows)
    )


@pytest.mark.parametrize("limit", [0.0, 1.1])
def test_gradients_agree_with_autograd_of_the_twin(monkeypatch: pytest.MonkeyPatch, limit: float) -> None:
    """Both paths: limit 0 takes the dense one, 1.1 the sparse one."""
    monkeypatch.setattr(functions, "DENSE", limit)
    x, encoder, bias, floor = matrices(30, 9, 50)
    floor = floor.abs()
    centre, decoder = torch.randn(9), torch.randn(50, 9)
    one = [t.clone().requires_grad_() for t in (x, centre, encoder, bias, decoder)]
    two = [t.clone().requires_grad_() for t in (x, centre, encoder, bias, decoder)]
    weight = torch.randn(30, 9)
    values, active = encode_active(*one[:4], floor)
    assert isinstance(active, Full if limit == 0 else Ragged)
    codes = torch.where(values > active.spread(floor), values, 0)
    (decode_active(codes, active, one[4]) * weight).sum().backward()
    pre = (two[0] - two[1]) @ two[2].T + two[3]
    (torch.where(pre > floor, pre, 0) @ two[4] * weight).sum().backward()
    for mine, theirs in zip(one, two, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_gradients_of_the_batch_choice_agree_with_the_twin() -> None:
    x, encoder, bias, _ = matrices(30, 9, 50)
    one = [t.clone().requires_grad_() for t in (x, torch.zeros(9), encoder, bias)]
    two = [t.clone().requires_grad_() for t in (x, encoder, bias)]
    values, active = encode_batch(*one, 4)
    weight = torch.randn(30, 50)
    (values * weight[active.rows, active.latents]).sum().backward()
    (encode_batch_top_k_dense(*two, 4) * weight).sum().backward()
    for mine, theirs in zip((one[0], *one[2:]), two, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_the_path_is_chosen_by_density() -> None:
    x, encoder, _, _ = matrices(100, 9, 50)
    centre = torch.zeros(9)
    assert isinstance(encode_active(x, centre, encoder, torch.zeros(50))[1], Full)
    assert isinstance(encode_active(x, centre, encoder, torch.full((50,), -8.0))[1], Ragged)


@pytest.mark.parametrize("n", [0, 1])
def test_few_rows(n: int) -> None:
    x, encoder, bias, _ = matrices(n, 9, 50)
    encoder.requires_grad_()
    values, active = encode_batch(x, torch.zeros(9), encoder, bias, 4)
    decode_active(values, active, torch.randn(50, 9)).sum().backward()
    assert len(values) <= 4 * n
    assert bool(encoder.grad.any()) == (n > 0)


def test_keep_and_spread() -> None:
    values, active = some(12, 9)
    kept = values > 0
    torch.testing.assert_close(active.keep(kept).dense(values[kept]), active.dense(values).relu())
    of_latent = torch.randn(9, requires_grad=True)
    active.spread(of_latent).sum().backward()
    torch.testing.assert_close(of_latent.grad, torch.bincount(active.latents, minlength=9).float())
