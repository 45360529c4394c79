"""BatchTopK's threshold, Matryoshka's prefixes, Multi-TopK."""

from __future__ import annotations

import pytest
import torch

from monosema.core import ConfigError
from monosema.dictionaries import Codes, SparseCoder, StepContext, make_coder
from monosema.dictionaries.losses import prefix_sizes

D, M, K = 8, 40, 4
MOMENT = StepContext(5, 100, 60)


def data(n: int = 300, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(14, D, generator=torch.Generator().manual_seed(9)), dim=1)
    active = (torch.rand(n, 14, generator=generator) < 0.2) * torch.rand(n, 14, generator=generator)
    return active @ directions * 5 + 1.0


def batch_topk(**values: object) -> SparseCoder:
    dictionary = make_coder("batch_topk", d_in=D, n_latents=M, k=K, **values)
    dictionary.start(data(), 0)
    return dictionary


def test_rows_may_differ_and_the_batch_keeps_k_on_average() -> None:
    codes = batch_topk().losses(data(), MOMENT).codes
    assert float(codes.l0.sum()) == 300 * K
    assert codes.l0.std() > 0


def test_the_threshold_gives_about_k_outside_training() -> None:
    dictionary = batch_topk()
    assert abs(float(dictionary.encode(data()).l0.mean()) - K) < 0.5, "already at the start"
    optimiser = torch.optim.Adam(dictionary.parameters(), lr=5e-3)
    for step in range(80):
        losses = dictionary.losses(data(seed=step), MOMENT)
        losses.total.backward()
        dictionary.project_gradients()
        optimiser.step()
        optimiser.zero_grad()
        dictionary.constrain()
        dictionary.observe(losses.codes, StepContext())
    dictionary.requires_grad_(False)
    held_out = data(seed=1000)
    assert abs(float(dictionary.encode(held_out).l0.mean()) - K) < 0.5
    fvu = (held_out - dictionary(held_out)).square().sum() / (held_out - held_out.mean(dim=0)).square().sum()
    assert float(fvu) < 1.5 * float(losses.fvu)


def test_the_threshold_is_a_moving_mean_of_the_smallest_kept() -> None:
    dictionary = batch_topk()

    def see(smallest: float) -> None:
        codes = torch.zeros(2, M)
        codes[0, 3], codes[1, 5] = smallest, 9.0
        dictionary.observe(Codes.from_dense(codes), StepContext())

    see(2.0)
    assert float(dictionary.threshold) == 2.0, "the first batch counts whole"
    dictionary.thresholds_seen.fill_(99)
    see(4.0)
    assert float(dictionary.threshold) == pytest.approx(0.9 * 2 + 0.1 * 4), "the last tenth of a hundred batches"
    dictionary.thresholds_seen.fill_(10**6)
    see(7.0)
    assert float(dictionary.threshold) == pytest.approx(0.999 * 2.2 + 0.001 * 7), (
        "never faster than the paper's late on"
    )
    before = float(dictionary.threshold)
    dictionary.observe(Codes.from_dense(torch.zeros(3, M)), StepContext())
    assert float(dictionary.threshold) == before, "a batch without activity says nothing"


def test_the_threshold_is_folded_with_the_units() -> None:
    dictionary = batch_topk()
    folded = dictionary.folded(torch.zeros(D), 4.0)
    assert float(folded.threshold) == pytest.approx(float(dictionary.threshold) / 4)


def test_prefixes_are_sizes_in_latents() -> None:
    shape = {"d_in": D, "n_latents": M, "k": K}
    assert prefix_sizes(make_coder("matryoshka", **shape).config.prefixes, M) == [1, 4, 9, 19, 40]
    for prefixes in ((0.5, 0.25, 1.0), (0.5, 0.9), (0.0, 1.0)):
        with pytest.raises(ConfigError, match="rise and end at 1"):
            make_coder("matryoshka", **shape, prefixes=prefixes)
    with pytest.raises(ConfigError, match="must differ"):
        make_coder("matryoshka", **shape, prefixes=(0.5, 0.501, 1.0))


def test_early_latents_learn_to_reconstruct_alone() -> None:
    """After the same training, the first eighth explains more in a Matryoshka dictionary than in a plain one."""
    left_over = []
    for dictionary in (
        batch_topk(),
        make_coder("matryoshka", d_in=D, n_latents=M, k=K, prefixes=(0.125, 0.5, 1.0)),
    ):
        dictionary.start(data(), 0)
        optimiser = torch.optim.Adam(dictionary.parameters(), lr=1e-2)
        for step in range(60):
            losses = dictionary.losses(data(seed=step), MOMENT)
            losses.total.backward()
            dictionary.project_gradients()
            optimiser.step()
            optimiser.zero_grad()
            dictionary.constrain()
            dictionary.observe(losses.codes, StepContext())
        dictionary.requires_grad_(False)
        x = data(seed=1000)
        codes = dictionary.encode(x).dense()
        codes[:, 5:] = 0
        left_over.append(float((x - dictionary.decode(Codes.from_dense(codes))).square().sum()))
    assert left_over[1] < 0.8 * left_over[0]


def test_multi_topk_adds_the_error_at_four_k() -> None:
    plain, several = (make_coder("topk", d_in=D, n_latents=M, k=K, multi_coefficient=c) for c in (0.0, 0.125))
    for dictionary in (plain, several):
        dictionary.start(data(), 0)
    x = data(50)
    at_four_k = make_coder("topk", d_in=D, n_latents=M, k=4 * K)
    at_four_k.load_state_dict(several.state_dict())
    first, both = plain.losses(x, MOMENT), several.losses(x, MOMENT)
    torch.testing.assert_close(both.terms["mse"], first.terms["mse"])
    torch.testing.assert_close(both.terms["multi"], at_four_k.losses(x, MOMENT).terms["mse"] / 8)
    assert torch.equal(both.codes.dense(), first.codes.dense()), "codes are those of k"
    assert float(several.encode(x).l0.max()) <= K


@pytest.mark.parametrize("architecture", ["batch_topk", "matryoshka"])
def test_more_kept_than_there_are_is_refused(architecture: str) -> None:
    with pytest.raises(ConfigError, match=r"k = 50.*40 latents"):
        make_coder(architecture, d_in=D, n_latents=M, k=50)
