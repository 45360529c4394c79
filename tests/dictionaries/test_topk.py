"""TopK: AuxK to the letter, starts from data, configuration errors."""

from __future__ import annotations

import pytest
import torch

from monosema.core import ConfigError
from monosema.dictionaries import StepContext, TopK, geometric_median, make_coder
from monosema.dictionaries.activation_functions.auxiliary import in_turn

MOMENT = StepContext(0, 10, 100)


def with_dead(dead: list[int], **config: object) -> tuple[TopK, torch.Tensor]:
    values = {"d_in": 6, "n_latents": 20, "k": 3, "dead_after": 50, "aux_every": 1, "aux_latents": 20}
    dictionary = make_coder("topk", **values | config)
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)) + 2.0
    dictionary.start(x, 0)
    with torch.no_grad():
        dictionary.b_enc[dead] = -100.0
    dictionary.silent_tokens[dead] = 60
    return dictionary, x


def test_aux_is_the_formula() -> None:
    dictionary, x = with_dead([], k_aux=2)
    dead = [1, 5, 9]
    dictionary.silent_tokens[dead] = 60
    pre = (x - dictionary.b_dec) @ dictionary.W_enc.T + dictionary.b_enc
    residual = x - dictionary(x)
    largest = pre[:, dead].topk(2, dim=1)
    codes = torch.zeros(30, 3).scatter(1, largest.indices, largest.values.relu())
    expected = (residual - codes @ dictionary.W_dec[dead]).square().sum()
    variance = (x - x.mean(dim=0)).square().sum()
    aux = dictionary.losses(x, MOMENT).terms["aux"]
    torch.testing.assert_close(aux, (expected / variance / 32).detach())


def test_aux_reaches_encoder_and_decoder_of_dead_latents_only() -> None:
    dictionary, x = with_dead([])
    with torch.no_grad():
        dictionary.b_enc[7] = 0.3
    dictionary.silent_tokens[7] = 60
    dictionary.losses(x, MOMENT).total.backward()
    with_aux = [parameter.grad.clone() for parameter in dictionary.parameters()]
    dictionary.zero_grad()
    dictionary.silent_tokens.zero_()
    dictionary.losses(x, MOMENT).total.backward()
    encoder, _, decoder, _ = (a - p.grad for a, p in zip(with_aux, dictionary.parameters(), strict=True))
    for gradient in (encoder, decoder):
        assert gradient[7].abs().max() > 0
        others = torch.arange(20) != 7
        torch.testing.assert_close(gradient[others], torch.zeros(19, 6), atol=1e-7, rtol=0)


def test_a_latent_that_never_wins_learns_through_aux() -> None:
    dictionary, x = with_dead([])
    with torch.no_grad():
        dictionary.W_enc[4] *= 0.01
    dictionary.silent_tokens[4] = 60
    optimiser = torch.optim.Adam(dictionary.parameters(), lr=0.02)
    dictionary.losses(x, MOMENT).total.backward()
    assert dictionary.W_enc.grad[4].abs().max() > 0
    optimiser.step()


def test_aux_on_parts_of_the_batch_has_the_whole_as_its_mean() -> None:
    dictionary, x = with_dead([], k_aux=2)
    dictionary.silent_tokens[[1, 5, 9]] = 60
    whole = dictionary.losses(x, MOMENT).terms["aux"]
    parted, _ = with_dead([], k_aux=2, aux_every=3)
    parted.silent_tokens[[1, 5, 9]] = 60
    parts = [parted.losses(x, StepContext(step, 10, 100)).terms["aux"] for step in range(3)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_all_dead_latents_take_turns() -> None:
    few = torch.arange(0, 120, 2)
    assert torch.equal(in_turn(few, 5, 500), few)
    many = torch.arange(0, 3000, 3)
    seen = [in_turn(many, step, 500) for step in range(4)]
    assert {len(chosen) for chosen in seen} == {256}, "sizes are few, and at most an eighth of the latents"
    assert set(torch.cat(seen).tolist()) == set(many.tolist())


def test_aux_is_absent_without_dead_latents_and_when_switched_off() -> None:
    dictionary, x = with_dead([])
    assert set(dictionary.losses(x, MOMENT).terms) == {"mse"}
    dictionary, x = with_dead([2], k_aux=0)
    assert set(dictionary.losses(x, MOMENT).terms) == {"mse"}


def test_dead_after_a_third_of_a_short_run() -> None:
    dictionary = make_coder("topk", d_in=4, n_latents=8, k=2)
    dictionary.silent_tokens[3] = 100
    assert dictionary.dead(StepContext(0, 3, 100)).tolist() == [3]
    assert dictionary.dead(StepContext(0, 4, 100)).tolist() == []


def test_silent_latents_start_anew_towards_residuals_at_the_points_of_the_run() -> None:
    dictionary, x = with_dead([2, 11], resample_at=(0.1, 0.2))
    dictionary.silent_tokens.zero_()
    dictionary.silent_tokens[[2, 11]] = 30
    assert dictionary.resample(x, StepContext(0, 20, 30)).tolist() == [], "not a point"
    before = dictionary.W_dec.detach().clone()
    assert dictionary.resample(x, StepContext(1, 20, 30)).tolist() == [], "silent for less than since the last point"
    dictionary.silent_tokens[[2, 11]] = 60
    residuals = torch.nn.functional.normalize(x - dictionary(x), dim=1)
    assert dictionary.resample(x, StepContext(3, 20, 30)).tolist() == [2, 11]
    rows = dictionary.W_dec.detach()[[2, 11]]
    torch.testing.assert_close((rows @ residuals.T).amax(dim=1), torch.ones(2))
    others = [latent for latent in range(20) if latent not in (2, 11)]
    assert torch.equal(dictionary.W_dec[others], before[others])
    assert dictionary.silent_tokens[[2, 11]].tolist() == [0, 0]
    assert set(dictionary.encode(x).indices[dictionary.encode(x).values > 0].tolist()) & {2, 11}, "they are active now"


@torch.no_grad()
def test_start_from_data() -> None:
    x = torch.randn(50, 5) + 4.0
    dictionary = make_coder("topk", d_in=5, n_latents=30, k=3)
    dictionary.start(x, 0)
    torch.testing.assert_close(dictionary.b_dec, x.mean(dim=0))
    gain = dictionary.W_enc.norm(dim=1, keepdim=True)
    torch.testing.assert_close(dictionary.W_enc, gain[:1] * dictionary.W_dec)
    given = dictionary(x) - dictionary.b_dec.detach()
    error = float((x - dictionary(x)).square().sum())
    for factor in (0.9, 1.1):
        other = (x - dictionary.b_dec.detach() - factor * given).square().sum()
        assert float(other) > error, "the encoder's scale is the best one"
    torch.testing.assert_close(dictionary.W_dec.norm(dim=1), torch.ones(30))
    again = make_coder("topk", d_in=5, n_latents=30, k=3)
    again.start(x, 0)
    assert torch.equal(again.W_dec, dictionary.W_dec)
    again.start(x, 1)
    assert not torch.equal(again.W_dec, dictionary.W_dec)


def test_geometric_median_ignores_a_far_point() -> None:
    points = torch.randn(101, 3)
    points[0] = 1e6
    assert geometric_median(points).norm() < 1.0
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    torch.testing.assert_close(geometric_median(square), torch.tensor([0.5, 0.5]))


def test_a_centre_by_the_median() -> None:
    x = torch.randn(60, 5)
    x[0] = 1e4
    dictionary = make_coder("topk", d_in=5, n_latents=8, k=2, centre="median")
    dictionary.start(x, 0)
    assert dictionary.b_dec.norm() < 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"d_in": 4, "n_latents": 8, "k": 0}, "k"),
        ({"d_in": 0, "n_latents": 8, "k": 2}, "0 values that are read"),
        ({"d_in": 4, "n_latents": 8, "kk": 3}, "kk"),
        ({"d_in": 4, "n_latents": 8, "start": "magic"}, "start"),
    ],
)
def test_configuration_errors_name_the_field(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_coder("topk", **values)


def test_more_kept_than_there_are() -> None:
    with pytest.raises(ConfigError, match="only 8 latents"):
        make_coder("topk", d_in=4, n_latents=8, k=9)


def test_a_start_from_weights_takes_the_given_directions() -> None:
    dictionary = make_coder("topk", d_in=6, n_latents=8, k=2, start="weights")
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(3))
    with pytest.raises(ConfigError, match="given"):
        dictionary.start(x, 0)
    dictionary.given = torch.eye(6)[:4] * torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    dictionary.start(x, 0)
    torch.testing.assert_close(dictionary.W_dec.detach(), torch.cat([torch.eye(6)[:4], -torch.eye(6)[:4]]))
