"""Baselines: what makes each of them a fair one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from monosema.core import ConfigError, VectorError
from monosema.dictionaries import Codes, Ica, Neurons, Nmf, Pca, RandomDirections


def test_pca_is_the_best_linear_reconstruction() -> None:
    x = torch.randn(300, 6, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.arange(1.0, 7.0)) + 5
    pca = Pca.fit(x.split(50), 3)
    centred = x - x.mean(dim=0)
    _, values, rows = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(pca(x), centred @ rows[:3].T @ rows[:3] + x.mean(dim=0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(pca.variances, values[:3] ** 2 / 300, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(pca.directions @ pca.directions.T, torch.eye(3), rtol=0, atol=1e-5)


def test_pca_with_all_components_is_exact() -> None:
    x = torch.randn(50, 4)
    torch.testing.assert_close(Pca.fit([x], 4)(x), x, rtol=1e-4, atol=1e-5)


def test_pca_errors() -> None:
    with pytest.raises(ConfigError, match="from 1 to 4"):
        Pca.fit([torch.randn(9, 4)], 5)
    with pytest.raises(VectorError):
        Pca.fit([], 2)


def test_random_directions_explain_something_but_little() -> None:
    x = torch.randn(500, 32, generator=torch.Generator().manual_seed(0)) + 2
    dictionary = RandomDirections.fit(x, 256, 8)
    fvu = (x - dictionary(x)).square().sum() / (x - x.mean(dim=0)).square().sum()
    assert 0.3 < fvu < 1.0
    assert torch.equal(dictionary.encode(x).l0, torch.full((500,), 8.0))
    with pytest.raises(ConfigError):
        RandomDirections.fit(x, 4, 5)


def test_neurons_with_both_signs_are_exact() -> None:
    x = torch.randn(20, 5)
    torch.testing.assert_close(Neurons(5)(x), x)
    torch.testing.assert_close(Neurons(5, signed=False)(x), x.relu())
    assert (Neurons(5, k=2).encode(x).l0 <= 2).all()


def test_codes_count_and_densify() -> None:
    dense = torch.tensor([[0.0, 2.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    codes = Codes.from_dense(dense)
    assert torch.equal(codes.dense(), dense)
    assert codes.l0.tolist() == [1.0, 2.0, 0.0]
    assert codes.counts().tolist() == [1, 2, 0]
    assert len(Codes.from_dense(torch.zeros(0, 3))) == 0


def test_ica_finds_independent_sources_up_to_order() -> None:
    generator = torch.Generator().manual_seed(0)
    sources = torch.rand(4000, 4, generator=generator) ** 6
    mixing = torch.randn(4, 6, generator=generator)
    ica = Ica.fit(sources @ mixing + 1.0, 4)
    found = ica.encode(sources @ mixing + 1.0).dense()
    match = torch.corrcoef(torch.cat([found, sources], dim=1).T)[:4, 4:]
    assert ica.converged
    assert sorted(match.argmax(dim=1).tolist()) == [0, 1, 2, 3]
    assert (match.amax(dim=1) > 0.98).all(), "the long tail is the positive one"


def test_ica_reconstructs_the_span_and_refuses_more_components_than_values() -> None:
    x = torch.rand(200, 4, generator=torch.Generator().manual_seed(1)) ** 3
    torch.testing.assert_close(Ica.fit(x, 4)(x), x, rtol=1e-3, atol=1e-3)
    with pytest.raises(ConfigError, match="from 1 to 4"):
        Ica.fit(x, 5)


def test_nmf_finds_planted_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = torch.zeros(3, 9)
    for number in range(3):
        parts[number, 3 * number : 3 * number + 3] = 1.0
    codes = torch.rand(500, 3, generator=generator) * (torch.rand(500, 3, generator=generator) < 0.4)
    x = codes @ parts
    nmf = Nmf.fit(x, 3, signed=False)
    cosines = torch.nn.functional.normalize(nmf.directions, dim=1) @ torch.nn.functional.normalize(parts, dim=1).T
    assert sorted(cosines.argmax(dim=1).tolist()) == [0, 1, 2]
    assert (cosines.amax(dim=1) > 0.98).all()
    assert float((x - nmf(x)).square().sum() / x.square().sum()) < 0.02


def test_nmf_with_signs_keeps_what_is_negative() -> None:
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(2))
    both, positive = Nmf.fit(x, 8), Nmf.fit(x, 8, signed=False)
    assert (both.encode(x).values >= 0).all()
    assert float((x - both(x)).square().sum()) < 0.5 * float((x - positive(x)).square().sum())
    with pytest.raises(ConfigError):
        Nmf.fit(x, 0)


FITS: dict[str, Callable[[torch.Tensor], Any]] = {
    "pca": lambda rows: Pca.fit([rows], 3),
    "ica": lambda rows: Ica.fit(rows, 3),
    "nmf": lambda rows: Nmf.fit(rows, 3),
    "random": lambda rows: RandomDirections.fit(rows, 12, 3),
}


@pytest.mark.parametrize("name", FITS)
def test_rows_that_nothing_can_be_fitted_to(name: str) -> None:
    for value in (float("nan"), float("inf")):
        rows = torch.ones(20, 5)
        rows[3:5, 2] = value
        with pytest.raises(VectorError, match=r"2 of 20 rows .* hold NaN or infinity\. Leave these rows out"):
            FITS[name](rows)
    with pytest.raises(VectorError, match="There are no rows to find"):
        FITS[name](torch.ones(0, 5))


def test_rows_that_do_not_differ() -> None:
    with pytest.raises(VectorError, match="differ in fewer than 3 directions"):
        Ica.fit(torch.ones(20, 5), 3)
    with pytest.raises(VectorError, match="no value other than 0"):
        Nmf.fit(torch.zeros(20, 5), 3)
    assert torch.isfinite(Pca.fit([torch.ones(20, 5)], 3)(torch.ones(4, 5))).all()
    assert torch.isfinite(RandomDirections.fit(torch.ones(20, 5), 12, 3)(torch.ones(4, 5))).all()
