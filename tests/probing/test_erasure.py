"""Erasers take out what they say, and no more: the cross-covariance of LEACE is zero, and it changes rows least."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monosema.core import InputError
from monosema.probing.erasure import along, leace, mean_difference, random_direction


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    """Correlated rows in which a label is spread over several coordinates."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(400, generator=generator) < 0.4).float()
    rows = torch.randn(400, 8, generator=generator) @ torch.randn(8, 8, generator=generator)
    return rows + labels.unsqueeze(1) * torch.randn(8, generator=generator), labels


def covariance(rows: Tensor, labels: Tensor) -> Tensor:
    return (rows - rows.mean(0)).T @ (labels - labels.mean()) / len(rows)


@pytest.mark.parametrize("fit", [leace, mean_difference])
def test_no_covariance_with_the_label_is_left(fit, data: tuple[Tensor, Tensor]) -> None:
    rows, labels = data
    erased = fit(rows, labels)
    assert erased.rank == 1
    assert covariance(erased(rows), labels).norm() < 1e-4 * covariance(rows, labels).norm()


def test_leace_changes_rows_less_than_the_mean_difference_and_once_is_enough(data: tuple[Tensor, Tensor]) -> None:
    rows, labels = data
    best, other = leace(rows, labels), mean_difference(rows, labels)
    moved = [(eraser(rows) - rows).square().sum() for eraser in (best, other)]
    assert moved[0] < 0.9 * moved[1]
    assert torch.allclose(best(best(rows)), best(rows), atol=1e-4)


def test_one_direction_is_gone_and_all_others_stay(data: tuple[Tensor, Tensor]) -> None:
    rows, _ = data
    eraser = along(torch.eye(8)[2] * 5, rows.mean(0))
    erased = eraser(rows)
    assert torch.allclose(erased[:, 2], rows[:, 2].mean().expand(400), atol=1e-5)
    assert torch.equal(erased[:, [0, 1, 3]], rows[:, [0, 1, 3]])


def test_a_random_direction_leaves_the_label_and_rows_of_one_class_are_refused(data: tuple[Tensor, Tensor]) -> None:
    rows, labels = data
    left = covariance(random_direction(rows, 0)(rows), labels).norm()
    assert left > 0.3 * covariance(rows, labels).norm()
    with pytest.raises(InputError, match="both"):
        leace(rows, torch.ones(400))
