"""Baselines: what makes each of them a fair one."""

from __future__ import annotations

import pytest
import torch

from monosema.core import ConfigError, VectorError
from monosema.dictionaries import Codes, Neurons, Pca, RandomDirections


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
