"""Screening by 8-bit integers: what it finds, what it refuses, and that its values are those of float32."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.kernels import encode as encode_module
from monosema.kernels import encode_above, encode_above_dense, encode_batch_top_k, encode_top_k, to_dense
from monosema.kernels import ragged_encode as ragged_module
from monosema.kernels.screening import FEWEST_ROWS, candidates_of_rows, largest_entries, rounded

Matrices = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def matrices(n: int = 300, d: int = 24, m: int = 1024, seed: int = 0, bias: float = 0.1) -> Matrices:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator) * torch.rand(n, 1, generator=generator).add(0.3)
    return x, torch.randn(m, d, generator=generator), torch.randn(m, generator=generator) * bias


@pytest.fixture
def screened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names what was found among candidates: an encode that took the exact way leaves no trace here."""
    seen: list[str] = []
    for module in (encode_module, ragged_module):
        inner = module.ragged_value_products

        def noted(*arguments: torch.Tensor, inner=inner, name: str = module.__name__) -> torch.Tensor:
            seen.append(name)
            return inner(*arguments)

        monkeypatch.setattr(module, "ragged_value_products", noted)
    return seen


@pytest.mark.parametrize(("d", "m", "k"), [(24, 1024, 5), (24, 1021, 1), (7, 4099, 32), (64, 1536, 16)])
def test_the_largest_of_each_row_are_found_and_exact(d: int, m: int, k: int, screened: list[str]) -> None:
    x, encoder, bias = matrices(d=d, m=m)
    got = to_dense(*encode_top_k(x, encoder, bias, k, torch.int8), m)
    expected = to_dense(*encode_top_k(x, encoder, bias, k), m)
    assert screened
    both = (got > 0) & (expected > 0)
    torch.testing.assert_close(got[both], expected[both], rtol=1e-4, atol=1e-5)
    assert ((expected > 0) & ~both).sum() <= 0.005 * (expected > 0).sum()
    assert ((got > 0).sum(dim=1) <= k).all()


def test_entries_above_floors_are_found_and_exact(screened: list[str]) -> None:
    x, encoder, bias = matrices()
    floor = torch.rand(1024) + 11
    values, active = encode_above(x, encoder, bias, floor, torch.int8)
    expected = encode_above_dense(x, encoder, bias, floor)
    assert screened
    got = active.dense(values)
    both = (got > 0) & (expected > 0)
    assert both.any()
    torch.testing.assert_close(got[both], expected[both], rtol=1e-4, atol=1e-5)
    assert ((got > 0) != (expected > 0)).sum() <= 0.005 * (expected > 0).sum()
    for row in range(len(active)):
        latents = active.latents[active.starts[row] : active.starts[row + 1]]
        assert (latents.diff() > 0).all(), "latents rise within a row"


def test_the_largest_of_a_batch_are_found(screened: list[str]) -> None:
    x, encoder, bias = matrices()
    values, active = encode_batch_top_k(x, encoder, bias, 8, torch.int8)
    expected, _ = encode_batch_top_k(x, encoder, bias, 8)
    assert screened
    assert len(values) == len(active.latents) == 300 * 8
    torch.testing.assert_close(values.sum(), expected.sum(), rtol=1e-3, atol=0)


@given(
    st.integers(1, 40),
    st.integers(1, 60),
    st.integers(1, 300),
    st.floats(0, 1e4),
    st.floats(1e-6, 1e6),
    st.integers(0, 3),
)
def test_rounding_stays_within_its_deviation(n: int, d: int, m: int, bias: float, size: float, seed: int) -> None:
    x, encoder, shift = matrices(n, d, m, seed, bias)
    whole = rounded(x * size, encoder, shift * size)
    assert whole is not None
    (matmul_dtype,) = whole.products()
    extent = (x * size).abs().amax(dim=1)
    unit = extent.clamp(min=float(extent.median()) / 16) / 127 * (encoder.abs().max() / 127)
    exact = (x.double() * size @ encoder.T.double() + shift.double() * size) / unit.double().unsqueeze(1)
    # A bias is cut off far above what else there is; below, errors are those of rounding.
    kept = ((shift * size / unit.min()).abs() < 2e5).expand(n, m)
    assert float((matmul_dtype - exact)[kept].abs().max() if kept.any() else 0) <= 7 * whole.deviation + 8


def test_candidates_hold_the_largest_of_every_row() -> None:
    x, encoder, bias = matrices(n=500)
    whole = rounded(x, encoder, bias)
    assert whole is not None
    active = candidates_of_rows(whole, 8)
    assert (active.starts.diff() >= 8).all()
    found = torch.zeros(500, 1024, dtype=torch.bool)
    found[active.rows, active.latents] = True
    wanted = (x @ encoder.T + bias).topk(8, dim=1).indices
    assert found.gather(1, wanted).float().mean() > 0.999


def test_largest_entries_of_uneven_rows() -> None:
    from monosema.kernels import Ragged

    active = Ragged(torch.tensor([4, 1, 0, 3, 2]), torch.tensor([0, 2, 5]), 5)
    values, latents = largest_entries(torch.tensor([1.0, 2.0, -1.0, 5.0, 4.0]), active, 2)
    assert sorted(zip(values[0].tolist(), latents[0].tolist(), strict=True)) == [(1.0, 4), (2.0, 1)]
    assert sorted(zip(values[1].tolist(), latents[1].tolist(), strict=True)) == [(4.0, 2), (5.0, 3)]


def test_what_8_bits_can_not_tell_apart_is_computed_exactly(screened: list[str]) -> None:
    """One component outweighs all others a thousandfold, and the encoder doesn't read it."""
    x, encoder, bias = matrices()
    x[:, 0] = 1000
    encoder[:, 0] = 0
    values, _ = encode_top_k(x, encoder, bias, 5, torch.int8)
    assert not screened
    expected, _ = encode_top_k(x, encoder, bias, 5)
    torch.testing.assert_close(values.sum(), expected.sum())
    entries, _ = encode_above(x, encoder, bias - 10, None, torch.int8)
    assert not screened
    assert len(entries) == int((x @ encoder.T + bias - 10 > 0).sum())


@pytest.mark.parametrize("rows", [0, 1, FEWEST_ROWS - 1])
def test_few_rows_are_computed_exactly(rows: int, screened: list[str]) -> None:
    x, encoder, bias = matrices(n=rows)
    values, _ = encode_top_k(x, encoder, bias, 5, torch.int8)
    encode_above(x, encoder, bias, None, torch.int8)
    assert values.shape == (rows, 5)
    assert not screened


def test_dense_codes_are_computed_exactly(screened: list[str]) -> None:
    x, encoder, bias = matrices()
    values, _ = encode_above(x, encoder, bias, None, torch.int8)
    assert not screened, "half of all entries are positive: candidates would be all"
    assert len(values) == int((x @ encoder.T + bias > 0).sum())
    encode_top_k(x, encoder, bias, 100, torch.int8)
    assert not screened


def test_nan_is_not_hidden() -> None:
    x, encoder, bias = matrices()
    x[7, 3] = float("nan")
    assert encode_top_k(x, encoder, bias, 5, torch.int8)[0].isnan().any()


def test_rows_of_zeros_have_the_bias_alone() -> None:
    x, encoder, bias = matrices()
    values, _ = encode_top_k(torch.zeros_like(x), encoder, bias, 5, torch.int8)
    torch.testing.assert_close(values.sort(dim=1).values[0], bias.topk(5).values.sort().values)
