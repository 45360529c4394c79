"""L1 by both recipes, tied L1, gated, JumpReLU, p-anneal: what each promises besides the contract of all."""

from __future__ import annotations

import pytest
import torch

from monosema.core import ConfigError
from monosema.dictionaries import SparseCoder, StepContext, make_coder

D, M = 8, 30
LATE = StepContext(90, 100, 60)


def data(n: int = 200, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(14, D, generator=torch.Generator().manual_seed(9)), dim=1)
    active = (torch.rand(n, 14, generator=generator) < 0.2) * torch.rand(n, 14, generator=generator)
    return active @ directions * 5 + 1.0


def l1(**values: object) -> SparseCoder:
    dictionary = make_coder("l1", d_in=D, n_latents=M, **values)
    dictionary.start(data(), 0)
    return dictionary


def jumprelu(**values: object) -> SparseCoder:
    dictionary = make_coder("jumprelu", **{"d_in": D, "n_latents": M, "start_l0": 5} | values)
    dictionary.start(data(), 0)
    return dictionary


# ---------------------------------------------------------------------------------------------------------------- L1


def test_the_start_has_as_many_active_latents_as_asked_for() -> None:
    for dictionary in (l1(start_l0=5), jumprelu(start_l0=5)):
        assert 3 < float(dictionary.encode(data()).l0.mean()) < 7
        assert dictionary.encode(data()).counts().min() > 0, "every latent is active somewhere"
    assert float(l1(start_l0=None).encode(data()).l0.mean()) > 10


def test_weighting_by_norms_leaves_nothing_to_gain_from_long_decoder_rows() -> None:
    """2024: codes a times as large with decoder rows a times as short are the same loss."""
    dictionary = l1(l1_coefficient=1.0)
    before = dictionary.losses(data(), LATE).total
    with torch.no_grad():
        for tensor in (dictionary.W_enc, dictionary.b_enc):
            tensor.mul_(0.1)
        dictionary.W_dec.mul_(10)
    torch.testing.assert_close(dictionary.losses(data(), LATE).total, before, rtol=1e-4, atol=1e-5)
    plain = l1(recipe="2023", l1_coefficient=1.0)
    with torch.no_grad():
        before = plain.losses(data(), LATE).terms["l1"]
        plain.W_enc.mul_(0.1)
        plain.b_enc.mul_(0.1)
    torch.testing.assert_close(plain.losses(data(), LATE).terms["l1"], 0.1 * before)


def test_the_penalty_of_2024_warms_up_and_that_of_2023_does_not() -> None:
    weak, strong = (l1().losses(data(), StepContext(step, 100, 60)).terms["l1"] for step in (0, 50))
    torch.testing.assert_close(5 * weak, strong)
    first, later = (l1(recipe="2023").losses(data(), StepContext(step, 100, 60)).terms["l1"] for step in (0, 50))
    torch.testing.assert_close(first, later)


def test_dead_latents_are_resampled_by_the_protocol_of_2023() -> None:
    dictionary = l1(recipe="2023")
    dictionary.silent_tokens[[3, 7]] = 5000
    with torch.no_grad():
        dictionary.b_enc[[3, 7]] = -5
    x = data(60, seed=1)
    assert dictionary.resample(x, StepContext(23, 200, 60)).tolist() == [], "not a point of the run"
    others = [latent for latent in range(M) if latent not in (3, 7)]
    norm = dictionary.W_enc[others].norm(dim=1).mean()
    assert dictionary.resample(x, StepContext(24, 200, 60)).tolist() == [3, 7]
    rows = torch.nn.functional.normalize(x - dictionary.b_dec, dim=1)
    torch.testing.assert_close((dictionary.W_dec[[3, 7]] @ rows.T).amax(dim=1), torch.ones(2))
    torch.testing.assert_close(dictionary.W_enc[[3, 7]].norm(dim=1), (0.2 * norm).expand(2))
    assert not dictionary.b_enc[[3, 7]].any()
    assert not dictionary.silent_tokens[[3, 7]].any()
    assert l1(recipe="2024").resample(x, StepContext(24, 200, 60)).tolist() == []
    assert l1(recipe="2023", resample_at=()).resample(x, StepContext(24, 200, 60)).tolist() == []


# -------------------------------------------------------------------------------------------------------------- tied


def test_tied_is_one_matrix_and_one_bias() -> None:
    dictionary = make_coder("tied_l1", d_in=D, n_latents=M)
    assert {name for name, _ in dictionary.named_parameters()} == {"W_enc", "b_enc"}
    assert dictionary.W_enc is dictionary.W_dec
    x = data()
    expected = (x @ dictionary.W_dec.T + dictionary.b_enc).relu() @ dictionary.W_dec
    torch.testing.assert_close(dictionary(x), expected.detach())
    untied = make_coder("tied_l1", d_in=D, n_latents=M, tied=False)
    assert {n for n, _ in untied.named_parameters()} == {"W_enc", "W_dec", "b_enc"}


# ------------------------------------------------------------------------------------------------------------- gated


def test_the_frozen_term_teaches_the_gate_and_not_the_decoder() -> None:
    dictionary = make_coder("gated", d_in=D, n_latents=M, l1_coefficient=0.0)
    dictionary.start(data(), 0)
    with torch.no_grad():
        dictionary.magnitude_bias.fill_(-1e6)
    dictionary.losses(data(), LATE).total.backward()
    assert not dictionary.W_dec.grad.any(), "all magnitudes are 0, so only the frozen term could reach it"
    assert dictionary.b_enc.grad.any()


def test_magnitudes_have_their_own_scale_and_bias() -> None:
    dictionary = make_coder("gated", d_in=D, n_latents=M)
    dictionary.start(data(), 0)
    x = data()
    with torch.no_grad():
        dictionary.magnitude_scale.fill_(0.5)
        dictionary.magnitude_bias.fill_(-0.3)
        product = (x - dictionary.b_dec) @ dictionary.W_enc.T
        opened = product + dictionary.b_enc > 0
    expected = torch.where(opened, (product * 2.718281828**0.5 - 0.3).relu(), 0)
    torch.testing.assert_close(dictionary.encode(x).dense(), expected)


# ---------------------------------------------------------------------------------------------------------- JumpReLU


def test_gradients_of_thresholds_are_the_straight_through_estimates() -> None:
    dictionary = jumprelu(bandwidth=0.3, l0_coefficient=0.01)
    x = data()
    dictionary.losses(x, LATE).total.backward()
    with torch.no_grad():
        size = (x - x.mean(dim=0)).square().sum() / len(x)
        width = 0.3 * size.sqrt()
        pre = ((x - dictionary.b_dec) @ dictionary.W_enc.T + dictionary.b_enc).relu()
        theta = dictionary.threshold
        codes = torch.where(pre > theta, pre, 0)
        residual = x - codes @ dictionary.W_dec - dictionary.b_dec
        near = (((pre - theta).abs() < width / 2) & (pre > 0)).float()
        of_codes = -2 * residual @ dictionary.W_dec.T / (len(x) * size)
        expected = (-(theta / width) * near * of_codes).sum(dim=0) - (near / width).sum(dim=0) * 0.01 / len(x)
    torch.testing.assert_close(dictionary.threshold.grad, expected, rtol=1e-3, atol=1e-6)


def test_the_penalty_does_not_reach_the_encoder() -> None:
    gradients = []
    for coefficient in (0.0, 0.1):
        dictionary = jumprelu(l0_coefficient=coefficient)
        dictionary.losses(data(), LATE).total.backward()
        gradients.append(dictionary.W_enc.grad)
    assert torch.equal(*gradients)


def test_silent_latents_start_anew_as_easily_active_as_living_ones() -> None:
    points = (0.05, 0.1)
    gated = make_coder("gated", d_in=D, n_latents=M, resample_at=points)
    gated.start(data(), 0)
    for dictionary, levels in ((jumprelu(resample_at=points), "threshold"), (gated, "b_enc")):
        living = [latent for latent in range(M) if latent not in (3, 7)]
        with torch.no_grad():
            getattr(dictionary, levels)[[3, 7]] = 1e6 if levels == "threshold" else -1e6
        dictionary.silent_tokens[[3, 7]] = 5000
        mean = getattr(dictionary, levels)[living].mean()
        assert dictionary.resample(data(), StepContext(4, 100, 200)).tolist() == [3, 7]
        torch.testing.assert_close(getattr(dictionary, levels)[[3, 7]], mean.expand(2))
        assert dictionary.encode(data()).counts()[[3, 7]].min() > 0
    assert jumprelu(resample_at=()).resample(data(), StepContext(4, 100, 200)).tolist() == []


# ---------------------------------------------------------------------------------------------------------- p-anneal


def test_p_falls_in_steps_and_the_penalty_keeps_its_strength() -> None:
    dictionary = make_coder("p_anneal", d_in=D, n_latents=M, p_steps=4, anneal_after=0.2)
    dictionary.start(data(), 0)
    x, seen = data(), []
    for step in range(100):
        context = StepContext(step, 100, 200)
        losses = dictionary.losses(x, context)
        dictionary.observe(losses.codes, context)
        dictionary.resample(x, context)
        seen.append((dictionary.activation.exponent(int(dictionary.stage)), float(losses.terms["lp"])))
    exponents = [p for p, _ in seen]
    assert exponents[:20] == [1.0] * 20
    assert sorted(set(exponents), reverse=True) == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert exponents == sorted(exponents, reverse=True)
    penalties = torch.tensor([penalty for _, penalty in seen[10:]])
    torch.testing.assert_close(penalties, penalties[:1].expand(90), rtol=1e-3, atol=0)


def test_gradients_stay_finite_where_activations_near_zero() -> None:
    dictionary = make_coder("p_anneal", d_in=D, n_latents=M)
    dictionary.start(data(), 0)
    dictionary.stage.fill_(10)
    with torch.no_grad():
        dictionary.W_enc.mul_(1e-12)
        dictionary.b_enc.fill_(1e-12)
    dictionary.losses(data(), LATE).total.backward()
    assert torch.isfinite(dictionary.W_enc.grad).all()


# ------------------------------------------------------------------------------------------------------------ starts


def test_a_start_from_given_directions() -> None:
    from monosema.core import torch_generator
    from monosema.dictionaries import directions_from

    weights = torch.randn(10, D)
    weights[3] = 0
    rows = directions_from(weights, 24, torch_generator(0, "test"))
    unit = torch.nn.functional.normalize(weights[weights.any(dim=1)], dim=1)
    torch.testing.assert_close(rows[:9], unit)
    torch.testing.assert_close(rows[9:18], -unit)
    assert ((rows[18:] * unit[:6]).sum(dim=1) > 0.4).all(), "near given ones"
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(24))
    dictionary = make_coder("topk", d_in=D, n_latents=24, k=3)
    dictionary.start_from(rows, data())
    assert torch.equal(dictionary.W_dec.detach(), rows)
    few = directions_from(weights, 4, torch_generator(0, "test"))
    assert (few @ unit.T).amax(dim=1).allclose(torch.ones(4))
    with pytest.raises(ConfigError, match=r"24 directions of width 8, but was given 4"):
        dictionary.start_from(few, data())
    with pytest.raises(ConfigError, match="zeros"):
        directions_from(torch.zeros(3, D), 4, torch_generator(0, "test"))


def test_an_orthogonal_start() -> None:
    dictionary = make_coder("topk", d_in=D, n_latents=20, k=3, start="orthogonal")
    dictionary.start(data(), 0)
    rows = dictionary.W_dec.detach()
    torch.testing.assert_close(rows[:D] @ rows[:D].T, torch.eye(D), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows[D : 2 * D] @ rows[D : 2 * D].T, torch.eye(D), atol=1e-5, rtol=0)
    assert not torch.allclose(rows[:D], rows[D : 2 * D])
