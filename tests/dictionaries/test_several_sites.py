"""Transcoders and crosscoders: their formulas, their units, and that they find what was planted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monosema.core import ConfigError, FormatError, VectorError
from monosema.dictionaries import (
    Codes,
    Dictionary,
    Losses,
    SparseCoder,
    StepContext,
    TopK,
    load_dictionary,
    make_coder,
    save_dictionary,
)
from monosema.kernels import functions

WIDTH, OUT = 8, 6
HALF = StepContext(50, 100, 400)


def data(width: int, n: int = 400, seed: int = 0) -> torch.Tensor:
    """Two sites that are different linear maps of the same sparse causes, around a mean that isn't zero."""
    generator, fixed = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    maps = torch.randn(16, width, generator=fixed)
    active = (torch.rand(n, 16, generator=generator) < 0.15) * torch.rand(n, 16, generator=generator)
    return active @ maps * 2 + 0.05 * torch.randn(n, width, generator=generator) + 1.5


def fields(values: dict[str, Any]) -> dict[str, Any]:
    """k where the activation has one, else few active latents at the start."""
    largest = values.get("activation", "topk") in ("topk", "batch_topk")
    return {**({"k": 4} if largest else {"start_l0": 5}), **values}


def transcoder(**values: object) -> Callable[[], SparseCoder]:
    def make() -> SparseCoder:
        one = make_coder("transcoder", WIDTH, 24, d_out=OUT, **fields(values))
        one.start(data(WIDTH + OUT), 0)
        if one.skip is not None:
            with torch.no_grad():
                one.skip.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
        return one

    return make


def crosscoder(n_sites: int = 2, **values: object) -> Callable[[], SparseCoder]:
    def make() -> SparseCoder:
        one = make_coder("crosscoder", 2 * WIDTH, 24, n_sites=n_sites, **fields(values))
        one.start(data(2 * WIDTH), 0)
        return one

    return make


RELU = {"activation": "relu", "l1_coefficient": 0.2}
JUMP = {"activation": "jumprelu", "bandwidth": 0.05}
MAKE = {
    "transcoder": transcoder(),
    "transcoder, k = 1": transcoder(k=1),
    "transcoder, k = m": transcoder(k=24),
    "transcoder, random start": transcoder(start="random"),
    "transcoder, skip": transcoder(skip=True),
    "transcoder, batch topk": transcoder(activation="batch_topk"),
    "transcoder, batch topk, skip": transcoder(activation="batch_topk", skip=True),
    "crosscoder, batch topk": crosscoder(activation="batch_topk"),
    "crosscoder, batch topk, k = m": crosscoder(activation="batch_topk", k=24),
    "transcoder, relu": transcoder(**RELU),
    "transcoder, relu, skip": transcoder(**RELU, skip=True),
    "transcoder, jumprelu": transcoder(**JUMP),
    "transcoder, jumprelu, skip": transcoder(**JUMP, skip=True),
    "crosscoder, jumprelu": crosscoder(**JUMP),
    "crosscoder": crosscoder(),
    "crosscoder, k = 1": crosscoder(k=1),
    "crosscoder, one site": crosscoder(n_sites=1),
    "crosscoder, relu": crosscoder(**RELU),
    "crosscoder, relu, biases of 0": crosscoder(**RELU, start_l0=None),
}
every = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())


def slow(d: SparseCoder, rows: torch.Tensor, training: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes, reconstruction and loss at half of the run, by the equations and autograd alone."""
    if d.has_separate_target:
        x, y = rows[:, : d.d_in], rows[:, d.d_in :]
        pre = x @ d.W_enc.T + d.b_enc
        norms = d.W_dec.norm(dim=1)
    else:
        x = y = rows
        pre = (x - d.b_dec) @ d.W_enc.T + d.b_enc
        norms = sum(part.norm(dim=1) for part in d.W_dec.split(d.site_width, dim=1))
    codes = torch.where(pre > d.threshold, pre, 0) if "threshold" in d.own_names else pre.relu()
    if d.activation.name == "topk":
        kept = pre.topk(d.activation.k, dim=1)
        codes = torch.zeros_like(pre).scatter(1, kept.indices, kept.values.relu())
    if d.activation.name == "batch_topk" and training:
        kept = pre.flatten().topk(d.activation.k * len(pre))
        codes = torch.zeros_like(pre).flatten().scatter(0, kept.indices, kept.values.relu()).view_as(pre)
    rebuilt = codes @ d.W_dec + d.b_dec
    if getattr(d, "skip", None) is not None:
        rebuilt = rebuilt + x @ d.skip.T
    error = (y - rebuilt).square().sum()
    if d.activation.name != "l1":
        return codes, rebuilt, error / (y - y.mean(dim=0)).square().sum()
    return codes, rebuilt, (error + d.activation.l1_coefficient * (codes * norms).sum()) / len(x)


@every
def test_codes_and_reconstructions_are_those_of_the_formula(make: Callable[[], SparseCoder]) -> None:
    d = make()
    assert isinstance(d, Dictionary)
    rows = data(d.row_width, 30)
    x, _ = d.inputs_and_targets(rows)
    with torch.no_grad():
        codes, rebuilt, _ = slow(d, rows, training=False)
        torch.testing.assert_close(d.encode(x).dense(), codes, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(d(x), rebuilt, rtol=1e-4, atol=1e-5)
    assert d.directions.shape == (d.n_latents, d.d_out)


def penalty(d: SparseCoder, losses: Losses) -> float:
    """What the slow loss leaves out: jumprelu's count of active latents, which has no gradient there."""
    return d.activation.l0_coefficient * float(losses.codes.l0.mean()) if d.activation.name == "jumprelu" else 0.0


@every
@pytest.mark.parametrize("dense", [False, True])
def test_gradients_agree_with_the_slow_twin(
    make: Callable[[], SparseCoder], dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "DENSE", 0.0 if dense else 1.1)
    d, twin = make(), make()
    rows = data(d.row_width, 60)
    losses = d.losses(rows, HALF)
    losses.total.backward()
    loss = slow(twin, rows, training=True)[2]
    loss.backward()
    torch.testing.assert_close(losses.total.detach(), loss.detach() + penalty(d, losses), rtol=1e-4, atol=1e-5)
    for (name, mine), theirs in zip(d.named_parameters(), twin.parameters(), strict=True):
        if name == "threshold":
            assert float(mine.grad.abs().sum()) > 0
            continue
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@every
@pytest.mark.parametrize("n", [0, 1])
def test_few_rows_give_finite_losses_and_gradients(make: Callable[[], SparseCoder], n: int) -> None:
    d = make()
    rows = data(d.row_width)[:n]
    losses = d.losses(rows, HALF)
    losses.total.backward()
    d.observe(losses.codes, StepContext())
    assert torch.isfinite(losses.total)
    assert all(torch.isfinite(p.grad).all() for p in d.parameters())
    assert d(d.inputs_and_targets(rows)[0]).shape == (n, d.d_out)


@every
def test_loss_falls_and_unit_rows_stay_so(make: Callable[[], SparseCoder]) -> None:
    d = make()
    optimiser = torch.optim.Adam(d.parameters(), lr=2e-2)
    totals = []
    for number in range(30):
        rows, now = data(d.row_width, 100, number), StepContext(number, 30, 100)
        losses = d.losses(rows, now)
        losses.total.backward()
        d.project_gradients()
        optimiser.step()
        optimiser.zero_grad()
        d.constrain()
        d.observe(losses.codes, StepContext())
        d.resample(rows, now)
        totals.append(float(losses.fvu if d.activation.name != "l1" else losses.total.detach()))
    assert sum(totals[-4:]) < 0.9 * sum(totals[4:8])
    if d.activation.name != "l1":
        torch.testing.assert_close(d.W_dec.detach().norm(dim=1), torch.ones(d.n_latents))


@every
def test_folding_takes_the_units_of_each_site(make: Callable[[], SparseCoder]) -> None:
    d = make()
    rows, mean = data(d.row_width, 50), torch.randn(d.row_width)
    first = d.d_in if d.has_separate_target else d.site_width
    scale = torch.cat([torch.full((first,), 2.5), torch.full((d.row_width - first,), 0.4)])
    if not d.has_separate_target and d.n_sites == 1:
        scale = torch.full_like(scale, 2.5)
    folded = d.folded(mean, scale)
    raw = rows / scale + mean
    x, x_raw = d.inputs_and_targets(rows)[0], d.inputs_and_targets(raw)[0]
    codes, again = d.encode(x).dense(), folded.encode(x_raw).dense()
    factor = scale[-1] if d.has_separate_target else torch.tensor([float(s[0]) for s in _sites(d, scale)]).mean()
    torch.testing.assert_close(again * factor, codes, rtol=1e-3, atol=1e-3)
    written = slice(-d.d_out, None)
    torch.testing.assert_close((folded(x_raw) - mean[written]) * scale[written], d(x), rtol=1e-3, atol=1e-3)
    if not d.has_separate_target:
        torch.testing.assert_close(folded.relative_norms(), d.relative_norms())
        torch.testing.assert_close(folded.fvu_of_sites(raw), d.fvu_of_sites(rows), rtol=1e-3, atol=1e-4)
    else:
        torch.testing.assert_close(folded.directions, d.directions)


def _sites(d: SparseCoder, scale: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return scale.split(d.site_width)


@every
def test_a_scale_within_a_site_is_refused(make: Callable[[], SparseCoder]) -> None:
    d = make()
    scale = torch.ones(d.row_width)
    scale[0] = 2
    with pytest.raises(VectorError, match="one value within each site"):
        d.folded(torch.zeros(d.row_width), scale)


@every
def test_saved_and_loaded_gives_equal_codes(make: Callable[[], SparseCoder], tmp_path: Path) -> None:
    d = make().folded(torch.ones(make().row_width), 2.0)
    save_dictionary(d, tmp_path)
    loaded = load_dictionary(tmp_path)
    assert type(loaded) is type(d)
    assert loaded.config == d.config
    unlike = {"start_l0": None}
    assert {**loaded.activation.to_dict(), **unlike} == {**d.activation.to_dict(), **unlike}
    x, _ = d.inputs_and_targets(data(d.row_width, 50))
    assert torch.equal(loaded.encode(x).dense(), d.encode(x).dense())
    assert torch.equal(loaded(x), d(x))


@pytest.mark.parametrize(
    "kind", ["transcoder, relu", "transcoder, jumprelu", "crosscoder, relu", "crosscoder, jumprelu"]
)
def test_as_many_latents_are_active_at_the_start_as_wanted(kind: str) -> None:
    """Around a mean that isn't zero too."""
    d = MAKE[kind]()
    assert 3 < float(d.encode(d.inputs_and_targets(data(d.row_width))[0]).l0.mean()) < 7


def test_saelens_itself_has_transcoders_with_relu_alone(tmp_path: Path) -> None:
    save_dictionary(MAKE["transcoder, relu, skip"](), tmp_path, "saelens")
    save_dictionary(MAKE["transcoder, jumprelu"](), tmp_path, "saelens")
    with pytest.raises(FormatError, match="no architecture topk_transcoder"):
        save_dictionary(MAKE["transcoder"](), tmp_path, "saelens")


def test_codes_without_the_skipped_part_are_refused() -> None:
    d = MAKE["transcoder, skip"]()
    with pytest.raises(VectorError, match="skip connection"):
        d.decode(Codes.from_dense(torch.zeros(1, d.n_latents)))


def test_rows_of_one_site_are_refused_with_both_widths() -> None:
    with pytest.raises(VectorError, match=r"width 14, 8 that it reads and 6 .*width 8"):
        MAKE["transcoder"]().losses(data(8), HALF)
    with pytest.raises(VectorError, match=r"width 8.*width 14"):
        MAKE["transcoder"]().encode(data(14))


@pytest.mark.parametrize(
    "config",
    [
        lambda: SparseCoder(9, 8, TopK(k=2), n_sites=2),
        lambda: make_coder("crosscoder", d_in=8, n_sites=2, n_latents=8, k=2, scales=(1.0,)),
        lambda: make_coder("crosscoder", d_in=8, n_sites=2, n_latents=8, k=9),
        lambda: make_coder("transcoder", d_in=4, d_out=4, n_latents=8, k=2, start="orthogonal"),
        lambda: SparseCoder(0, 8, TopK(k=2)),
    ],
)
def test_parts_that_do_not_fit_are_refused(config: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        config()


def trained(d: SparseCoder, rows: Callable[[int], torch.Tensor], steps: int = 150, lr: float = 2e-2) -> None:
    d.start(rows(10_000), 0)
    optimiser = torch.optim.Adam(d.parameters(), lr=lr)
    for number in range(steps):
        optimiser.param_groups[0]["lr"] = lr * min(1.0, 3 * (1 - number / steps))
        batch = rows(number)
        now = StepContext(number, steps, len(batch))
        losses = d.losses(batch, now)
        losses.total.backward()
        d.project_gradients()
        optimiser.step()
        optimiser.zero_grad()
        d.constrain()
        d.observe(losses.codes, StepContext())
        d.resample(batch, now)


def sparse(seed: int, features: int, n: int = 256, active: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(n, features, generator=generator).topk(active, dim=1).indices
    return torch.zeros(n, features).scatter(1, chosen, 0.5 + torch.rand(n, active, generator=generator))


def directions(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("activation", ["topk", "relu"])
def test_a_crosscoder_tells_shared_features_from_exclusive_ones(activation: str) -> None:
    """Features 0-7 are at both sites, along other directions; 8-11 only at the first, 12-15 only at the second."""
    maps = torch.stack([directions(16, 20, 1), directions(16, 20, 2)], dim=1)
    maps[8:12, 1] = 0
    maps[12:, 0] = 0
    planted = maps.flatten(1)
    settings = {"k": 2} if activation == "topk" else {"l1_coefficient": 0.05, "start_l0": 3}
    d = make_coder("crosscoder", d_in=40, n_sites=2, n_latents=32, activation=activation, **settings)
    trained(d, lambda seed: sparse(seed, 16) @ planted)
    found = torch.nn.functional.normalize(planted, dim=1) @ torch.nn.functional.normalize(d.directions, dim=1).T
    best, latent = found.max(dim=1)
    assert float(best.min()) > 0.9
    share = d.relative_norms()[latent, 0]
    assert float((share[:8] - 0.5).abs().max()) < 0.15
    assert float(share[8:12].min()) > 0.9
    assert float(share[12:].max()) < 0.1
    assert float(d.fvu_of_sites(sparse(20_000, 16) @ planted).max()) < 0.1


@pytest.mark.parametrize("activation", ["topk", "relu"])
def test_a_transcoder_recovers_a_planted_map(activation: str) -> None:
    """Each cause is read along one direction and written along another, unrelated one."""
    read, write = directions(16, 20, 3), directions(16, 12, 4)

    def rows(seed: int) -> torch.Tensor:
        causes = sparse(seed, 16)
        return torch.cat([causes @ read, causes @ write], dim=1)

    settings = {"k": 2} if activation == "topk" else {"l1_coefficient": 0.05, "start_l0": 3}
    d = make_coder("transcoder", d_in=20, d_out=12, n_latents=32, activation=activation, **settings)
    trained(d, rows, steps=300)
    d.requires_grad_(False)
    found = write @ torch.nn.functional.normalize(d.directions, dim=1).T
    best, latent = found.max(dim=1)
    assert float(best.min()) > 0.9
    own = d.encode(read).dense()
    assert torch.equal(own[:, latent].argmax(dim=1), torch.arange(16))
    x, y = d.inputs_and_targets(rows(20_000))
    assert float((y - d(x)).square().sum() / (y - y.mean(dim=0)).square().sum()) < 0.1


def test_a_skip_connection_takes_the_linear_part() -> None:
    generator = torch.Generator().manual_seed(5)
    linear = torch.randn(10, 6, generator=generator)

    def rows(seed: int) -> torch.Tensor:
        x = torch.randn(256, 10, generator=torch.Generator().manual_seed(seed))
        return torch.cat([x, x @ linear], dim=1)

    left = []
    for skip in (False, True):
        d = make_coder("transcoder", d_in=10, d_out=6, n_latents=12, k=1, skip=skip)
        trained(d, rows, 100, 5e-2)
        left.append(float(d.losses(rows(20_000), HALF).fvu))
    assert left[1] < 0.02 < 0.2 < left[0]
