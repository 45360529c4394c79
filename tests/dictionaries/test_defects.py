"""Defects that libraries of this kind are known to have, each named, none here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from monosema.dictionaries import SparseCoder, StepContext, make_coder

D, M = 6, 20
SHAPE = {"d_in": D, "n_latents": M}
AUX = {"k": 3, "dead_after": 50, "aux_every": 1, "aux_latents": M, "k_aux": 2}
MOMENT = StepContext(5, 10, 100)
WITH_AUX: dict[str, Callable[[], SparseCoder]] = {
    "topk": lambda: make_coder("topk", **SHAPE, **AUX),
    "batch topk": lambda: make_coder("batch_topk", **SHAPE, **AUX),
    "matryoshka": lambda: make_coder("matryoshka", **SHAPE, **AUX, prefixes=(0.25, 1.0)),
}
EVERY: dict[str, Callable[[], SparseCoder]] = {
    **WITH_AUX,
    "l1": lambda: make_coder("l1", **SHAPE),
    "gated": lambda: make_coder("gated", **SHAPE),
    "jumprelu": lambda: make_coder("jumprelu", **SHAPE),
}
with_aux = pytest.mark.parametrize("make", WITH_AUX.values(), ids=WITH_AUX.keys())
every = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY.keys())


def data() -> torch.Tensor:
    return torch.randn(30, D, generator=torch.Generator().manual_seed(0)) + 2.0


def started(make: Callable[[], SparseCoder], dead: tuple[int, ...] = ()) -> SparseCoder:
    dictionary = make()
    dictionary.start(data(), 0)
    dictionary.silent_tokens[list(dead)] = 60
    return dictionary


def aux_gradients(make: Callable[[], SparseCoder], dead: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """What the auxiliary term adds to each gradient."""
    gradients = []
    for latents in ((), dead):
        dictionary = started(make, latents)
        dictionary.losses(data(), MOMENT).total.backward()
        gradients.append({name: parameter.grad for name, parameter in dictionary.named_parameters()})
    return {name: gradients[1][name] - gradients[0][name] for name in gradients[0]}


@with_aux
def test_aux_does_not_add_the_decoder_bias_again(make: Callable[[], SparseCoder]) -> None:
    """ê is decoded without b_dec: with dead latents that give nothing, the error is that of the residual alone."""
    dictionary = started(make, (1, 5))
    with torch.no_grad():
        dictionary.b_enc[[1, 5]] = -1e6
    losses = dictionary.losses(data(), MOMENT)
    torch.testing.assert_close(losses.terms["aux"], losses.fvu / 32)


@with_aux
def test_aux_sees_the_residual_as_a_constant(make: Callable[[], SparseCoder]) -> None:
    """Were e not detached, living latents would learn to leave over what the dead can do."""
    difference = aux_gradients(make, (1, 5))
    living = [latent for latent in range(M) if latent not in (1, 5)]
    for name in ("W_enc", "W_dec", "b_enc"):
        torch.testing.assert_close(difference[name][living], torch.zeros_like(difference[name][living]))


@with_aux
def test_aux_reaches_the_encoder_of_the_dead(make: Callable[[], SparseCoder]) -> None:
    difference = aux_gradients(make, (1, 5))
    for name in ("W_enc", "W_dec", "b_enc"):
        assert difference[name][[1, 5]].abs().max() > 0, name


def test_thresholds_learn_from_a_small_start() -> None:
    """A logarithm under Adam moves by shares of itself: from 0.01 it would be below 0.03 after these steps."""
    dictionary = make_coder(
        "jumprelu", **SHAPE, start_l0=None, start_threshold=0.003, l0_coefficient=0.02, bandwidth=0.05
    )
    dictionary.start(data(), 0)
    first = dictionary.threshold.detach().clone()
    start_l0 = float(dictionary.encode(data()).l0.mean())
    optimiser = torch.optim.Adam(dictionary.parameters(), lr=1e-2)
    for step in range(100):
        losses = dictionary.losses(data(), StepContext(step, 100, 30))
        losses.total.backward()
        dictionary.project_gradients()
        optimiser.step()
        optimiser.zero_grad()
        dictionary.constrain()
    assert float(first.max()) < 0.03
    assert float(dictionary.threshold.detach().median()) > 0.1
    assert float(dictionary.encode(data()).l0.mean()) < 0.7 * start_l0
    assert (dictionary.threshold >= 0).all()


def test_thresholds_stay_float32_in_bf16_dictionaries() -> None:
    """In bf16 a step of 1e-4 on a threshold of 1 is lost."""
    for make in (EVERY["jumprelu"], EVERY["batch topk"]):
        dictionary = started(make)
        with torch.no_grad():
            dictionary.threshold.fill_(1.0001)
        codes = dictionary.encode(data())
        dictionary.to(torch.bfloat16)
        assert dictionary.W_enc.dtype == torch.bfloat16
        assert dictionary.threshold.dtype == torch.float32
        assert float(dictionary.threshold.detach().mean()) == pytest.approx(1.0001, abs=1e-6)
        rounded = dictionary.encode(data().bfloat16())
        torch.testing.assert_close(rounded.l0.mean(), codes.l0.mean(), rtol=0.05, atol=0)


@every
def test_unexplained_variance_is_centred_on_the_mean_of_the_data(make: Callable[[], SparseCoder]) -> None:
    """Measured against Σ‖x‖², data far from 0 would look explained by its mean alone."""
    dictionary, x = started(make), data()
    losses = dictionary.losses(x, MOMENT)
    reconstruction = losses.codes.dense() @ dictionary.W_dec.detach() + dictionary.b_dec.detach()
    expected = (x - reconstruction).square().sum() / (x - x.mean(dim=0)).square().sum()
    torch.testing.assert_close(losses.fvu, expected)
    with torch.no_grad():
        dictionary.b_dec.add_(100.0)
    torch.testing.assert_close(dictionary.losses(x + 100.0, MOMENT).fvu, expected, rtol=1e-3, atol=1e-4)


@every
def test_looking_advances_no_count(make: Callable[[], SparseCoder]) -> None:
    """Dead counts and thresholds move by `observe`, once a training batch; not by losses, codes or figures."""
    dictionary = started(make, (1, 5))
    before = {name: tensor.clone() for name, tensor in dictionary.state_dict().items()}
    for _ in range(3):
        losses = dictionary.losses(data(), MOMENT)
        assert float(losses.codes.l0.mean()) == float(dictionary.losses(data(), MOMENT).codes.l0.mean())
        dictionary.encode(data())
        dictionary.dead(MOMENT)
    for name, tensor in dictionary.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@every
def test_the_decoder_is_normalised_after_the_step(make: Callable[[], SparseCoder]) -> None:
    dictionary = started(make)
    optimiser = torch.optim.SGD(dictionary.parameters(), lr=1.0)
    dictionary.losses(data(), MOMENT).total.backward()
    dictionary.project_gradients()
    optimiser.step()
    stepped = dictionary.W_dec.detach().clone()
    dictionary.constrain()
    if dictionary.title == "L1":
        assert torch.equal(dictionary.W_dec, stepped), "the recipe of 2024 has free norms"
    else:
        torch.testing.assert_close(dictionary.W_dec.detach(), torch.nn.functional.normalize(stepped, dim=1))
