"""Adam with a floor: rare latents are held back, others take Adam's steps, and no unit matters."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from monosema.training import TrainConfig
from monosema.training.distribution import Mesh
from monosema.training.floored_adam import SHARE, FlooredAdam
from monosema.training.optimisers import Optimisers

BETAS = (0.7, 0.999)


def gradients(steps: int, latents: int = 12, width: int = 5) -> Tensor:
    """Ones of either sign; of the first latent only once, in the middle, of all others in each step."""
    drawn = torch.randn(steps, latents, width, generator=torch.Generator().manual_seed(0)).sign()
    drawn[:, 0] = 0
    drawn[steps // 2, 0] = 1
    return drawn


def trained(optimiser: torch.optim.Optimizer, parameter: Tensor, drawn: Tensor) -> Tensor:
    for gradient in drawn:
        parameter.grad = gradient.clone()
        optimiser.step()
    return parameter.detach()


def floored(drawn: Tensor, lr: float = 0.01) -> Tensor:
    parameter = torch.nn.Parameter(torch.zeros(drawn.shape[1:]))
    return trained(FlooredAdam([parameter], lr, BETAS, Mesh()), parameter, drawn)


def plain(drawn: Tensor, lr: float = 0.01) -> Tensor:
    parameter = torch.nn.Parameter(torch.zeros(drawn.shape[1:]))
    return trained(torch.optim.Adam([parameter], lr=lr, betas=BETAS, eps=1e-12), parameter, drawn)


def test_a_latent_that_fired_once_goes_no_further_than_its_gradient_is_worth() -> None:
    drawn = gradients(100)
    # A gradient of the common size, 1, moves a common latent by about γ; one that fired once by no more than γ / ρ.
    assert float(floored(drawn)[0].abs().max()) <= 0.01 / SHARE * 1.2
    assert float(plain(drawn)[0].abs().min()) > 0.05


def test_latents_that_fire_as_others_do_take_adams_steps() -> None:
    drawn = gradients(40)[:, 1:]
    torch.testing.assert_close(floored(drawn), plain(drawn))


@given(st.floats(1e-6, 1e6))
def test_units_of_the_loss_change_nothing(scale: float) -> None:
    drawn = gradients(20)
    torch.testing.assert_close(floored(drawn * scale), floored(drawn), rtol=1e-3, atol=1e-5)


def test_each_place_in_a_row_has_its_own_floor() -> None:
    drawn = gradients(50)
    drawn[:, :, 0] *= 1e4
    usual = floored(gradients(50))
    torch.testing.assert_close(floored(drawn), usual, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("epsilon", [None, 1e-8])
def test_an_epsilon_that_is_given_means_plain_adam(epsilon: float | None) -> None:
    drawn = gradients(30)
    parameter = torch.nn.Parameter(torch.zeros(drawn.shape[1:]))
    optimisers = Optimisers([parameter], TrainConfig(epsilon=epsilon), 0.01)
    for gradient in drawn:
        parameter.grad = gradient.clone()
        optimisers.step(0.01)
    expected = floored(drawn) if epsilon is None else plain(drawn)
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-6)


def test_latents_that_begin_anew_keep_the_floor() -> None:
    drawn = gradients(30)
    parameter = torch.nn.Parameter(torch.zeros(drawn.shape[1:]))
    optimisers = Optimisers([parameter], TrainConfig(), 0.01)
    for gradient in drawn:
        parameter.grad = gradient.clone()
        optimisers.step(0.01)
    before = optimisers.tensors()["0.exp_avg_sq"].clone()
    optimisers.forget(torch.tensor([3]), len(parameter))
    assert not optimisers.tensors()["0.exp_avg"][3].any()
    assert torch.equal(optimisers.tensors()["0.exp_avg_sq"], before)
