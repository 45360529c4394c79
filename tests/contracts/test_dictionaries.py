"""What every dictionary must do, and what every one that can be trained must do besides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from monosema.core import VectorError
from monosema.dictionaries import (
    BatchTopK,
    Codes,
    Dictionary,
    Gated,
    JumpReLU,
    Neurons,
    Pca,
    RandomDirections,
    ReLU,
    SparseCoder,
    StepContext,
    TiedL1,
    TopK,
    load_dictionary,
    make_coder,
    save_dictionary,
)
from monosema.kernels import functions

D = 12


def data(n: int = 400, seed: int = 0) -> torch.Tensor:
    """Sparse sums of a few directions around a mean that isn't zero."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(20, D, generator=torch.Generator().manual_seed(99)), dim=1)
    active = (torch.rand(n, 20, generator=generator) < 0.15) * torch.rand(n, 20, generator=generator)
    return active @ directions * 4 + 0.05 * torch.randn(n, D, generator=generator) + 3.0


def started(architecture: str, m: int = 40, **values: object) -> Callable[[], SparseCoder]:
    def make() -> SparseCoder:
        dictionary = make_coder(architecture, D, m, **values)
        dictionary.start(data(), 0)
        return dictionary

    return make


TRAINABLE: dict[str, Callable[[], SparseCoder]] = {
    "topk": started("topk", k=4),
    "topk, k = 1": started("topk", k=1),
    "topk, k = m": started("topk", m=9, k=9),
    "topk, m < d": started("topk", m=5, k=2),
    "topk, random start": started("topk", k=4, start="random", centre="median"),
    "topk, orthogonal start": started("topk", k=4, start="orthogonal"),
    "multi-topk": started("topk", k=4, multi_coefficient=0.125),
    "batch topk": started("batch_topk", k=4),
    "batch topk, k = 1": started("batch_topk", k=1),
    "batch topk, k = m": started("batch_topk", m=9, k=9),
    "batch topk, m < d": started("batch_topk", m=5, k=2),
    "matryoshka": started("matryoshka", k=4, prefixes=(0.1, 0.5, 1.0)),
    "matryoshka, one prefix": started("matryoshka", k=4, prefixes=(1.0,)),
    "l1 2023": started("l1", recipe="2023", l1_coefficient=0.3, start_l0=6),
    "l1 2024": started("l1", l1_coefficient=0.3, start_l0=6),
    "l1 2024, m < d": started("l1", m=5, l1_coefficient=0.3),
    "l1 2024, biases of 0": started("l1", l1_coefficient=0.3, start_l0=None),
    "tied": started("tied_l1", l1_coefficient=0.02, start_l0=3),
    "untied": started("tied_l1", tied=False, l1_coefficient=0.02, start_l0=3),
    "gated": started("gated", l1_coefficient=0.3, start_l0=6),
    "jumprelu": started("jumprelu", start_l0=6, bandwidth=0.05),
    "jumprelu, input as it is": started("jumprelu", start_l0=6, bandwidth=0.05, centre_input=False),
    "jumprelu, small thresholds": started("jumprelu", start_l0=None),
    "p-anneal": started("p_anneal", l1_coefficient=0.3, start_l0=6),
}
ALL: dict[str, Callable[[], Dictionary]] = {
    **TRAINABLE,
    "pca": lambda: Pca.fit(data().split(64), 4),
    "random": lambda: RandomDirections.fit(data(), 40, 4),
    "neurons": lambda: Neurons(D),
    "neurons, k = 3": lambda: Neurons(D, k=3, signed=False),
}
UNIT = {name: make for name, make in TRAINABLE.items() if not name.startswith("l1 2024")}
"""Those that promise decoder rows of norm 1."""
RAGGED = {name: make for name, make in TRAINABLE.items() if not name.startswith(("topk", "multi", "batch", "matry"))}
"""Those whose number of active latents varies freely, which take a sparse or a dense path."""
dictionaries = pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())
trainable = pytest.mark.parametrize("make", TRAINABLE.values(), ids=TRAINABLE.keys())
unit = pytest.mark.parametrize("make", UNIT.values(), ids=UNIT.keys())


HALF = StepContext(50, 100, 400)
"""Half of the run: past every warm-up, before any latent counts as dead."""


def context(step: int = 0, matmul_dtype: torch.dtype | None = None) -> StepContext:
    return StepContext(step, 100, 400, matmul_dtype)


def one_step(
    dictionary: SparseCoder, optimiser: torch.optim.Optimizer, x: torch.Tensor, matmul_dtype: torch.dtype | None = None
):
    losses = dictionary.losses(x, context(matmul_dtype=matmul_dtype))
    losses.total.backward()
    dictionary.project_gradients()
    optimiser.step()
    optimiser.zero_grad()
    dictionary.constrain()
    dictionary.observe(losses.codes, context())
    return losses


def slow_codes(d: SparseCoder, x: torch.Tensor, training: bool) -> torch.Tensor:
    """All codes as a matrix, by the equations of the docstrings and autograd alone."""
    pre = (x - (0 if d.centre is None else d.centre)) @ d.W_enc.T + d.b_enc
    match d.activation:
        case Gated():
            magnitude = (pre - d.b_enc) * d.magnitude_scale.exp() + d.magnitude_bias
            return torch.where(pre > 0, magnitude.relu(), 0)
        case JumpReLU():
            return torch.where(pre > d.threshold, pre, 0)
        case TopK():
            return torch.zeros_like(pre).scatter(1, *kept(pre, d.activation.k, 1))
        case BatchTopK() if training:
            flat = pre.reshape(-1)
            return torch.zeros_like(flat).scatter(0, *kept(flat, d.activation.k * len(x), 0)).view_as(pre)
        case BatchTopK():
            return torch.where(pre > d.threshold, pre, 0)
    return pre.relu()


def kept(pre: torch.Tensor, k: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    largest = pre.topk(k, dim=dim)
    return largest.indices, largest.values.relu()


def slow_loss(d: SparseCoder, x: torch.Tensor) -> torch.Tensor:
    """The loss at half of the run, without the straight-through part of JumpReLU."""
    codes, config, n = slow_codes(d, x, training=True), d.activation, len(x)
    error = (x - codes @ d.W_dec - d.b_dec).square().sum()
    variance = (x - x.mean(dim=0)).square().sum()
    match d.activation:
        case TopK() if config.multi_coefficient:
            pre = (x - (0 if d.centre is None else d.centre)) @ d.W_enc.T + d.b_enc
            more = torch.zeros_like(pre).scatter(1, *kept(pre, 4 * config.k, 1))
            again = (x - more @ d.W_dec - d.b_dec).square().sum()
            return (error + config.multi_coefficient * again) / variance
        case BatchTopK() if d.config.prefixes:
            sizes = [round(share * d.n_latents) for share in d.config.prefixes]
            parts = [(x - codes[:, :m] @ d.W_dec[:m] - d.b_dec).square().sum() for m in sizes]
            return torch.stack(parts).mean() / variance
        case TopK() | BatchTopK() | JumpReLU():
            return error / variance
        case Gated():
            gate = ((x - d.centre) @ d.W_enc.T + d.b_enc).relu()
            frozen = (x - gate @ d.W_dec.detach() - d.b_dec.detach()).square().sum()
            return (error + config.l1_coefficient * gate.sum() + frozen) / n
        case TiedL1():
            return (error / d.d_in + config.l1_coefficient * codes.sum()) / n
        case ReLU(recipe="2024"):
            codes = codes * d.W_dec.norm(dim=1)
    return (error + config.l1_coefficient * codes.sum()) / n


@dictionaries
def test_is_a_dictionary(make: Callable[[], Dictionary]) -> None:
    dictionary = make()
    assert isinstance(dictionary, Dictionary)
    assert dictionary.directions.shape == (dictionary.n_latents, dictionary.d_out)


@dictionaries
@pytest.mark.parametrize("n", [0, 1, 33])
def test_shapes_for_any_number_of_rows(make: Callable[[], Dictionary], n: int) -> None:
    dictionary = make()
    x = data(40)[:n]
    codes = dictionary.encode(x)
    assert codes.dense().shape == (n, dictionary.n_latents)
    assert dictionary(x).shape == x.shape
    assert dictionary.decode(codes).shape == x.shape


@dictionaries
def test_vectors_of_any_leading_shape_of_torch_or_numpy_keep_it(make: Callable[[], Dictionary]) -> None:
    dictionary, x = make(), data(6)
    rows, made = dictionary.encode(x).dense(), dictionary(x)
    for given, shape in ((x[0], ()), (x.view(2, 3, D), (2, 3)), (x.double().numpy(), (6,)), (x.numpy()[0], ())):
        codes, n = dictionary.encode(given), max(1, torch.Size(shape).numel())
        assert codes.dense().shape == (*shape, dictionary.n_latents)
        torch.testing.assert_close(codes.dense().view(n, -1), rows[:n])
        for form in (codes, codes.dense()):
            assert dictionary.decode(form).shape == given.shape
            torch.testing.assert_close(dictionary.decode(form).view(n, -1), made[:n], rtol=1e-4, atol=1e-4)
    assert dictionary(x.view(2, 3, D)).shape == (2, 3, D)
    with pytest.raises(VectorError, match="latents"):
        dictionary.decode(torch.zeros(2, dictionary.n_latents + 1))


@dictionaries
def test_gradients_of_dense_codes_reach_latents_that_are_0(make: Callable[[], Dictionary]) -> None:
    dictionary = make()
    dense = torch.zeros(2, dictionary.n_latents).requires_grad_()
    dictionary.decode(dense).sum().backward()
    expected = dictionary.directions.sum(dim=1).expand(2, -1)
    torch.testing.assert_close(dense.grad, expected, rtol=1e-4, atol=1e-5)


@dictionaries
def test_dense_and_sparse_codes_decode_alike(make: Callable[[], Dictionary]) -> None:
    dictionary = make()
    codes = dictionary.encode(data(50))
    again = Codes.from_dense(codes.dense())
    torch.testing.assert_close(dictionary.decode(again), dictionary.decode(codes))
    zero = dictionary.decode(Codes.from_dense(torch.zeros(1, dictionary.n_latents)))
    linear = codes.dense() @ dictionary.directions + zero
    torch.testing.assert_close(linear, dictionary.decode(codes), rtol=1e-4, atol=1e-4)


@dictionaries
def test_dense_codes_of_half_precision_or_numpy_decode_too(make: Callable[[], Dictionary]) -> None:
    dictionary = make()
    dense = torch.zeros(3, dictionary.n_latents)
    dense[:, 1] = 2.0
    for given in (dense.half(), dense.numpy()):
        torch.testing.assert_close(dictionary.decode(given), dictionary.decode(dense))


@dictionaries
def test_encoding_changes_nothing(make: Callable[[], Dictionary]) -> None:
    dictionary = make()
    x = data(50)
    first = dictionary.encode(x)
    second = dictionary.encode(x)
    assert torch.equal(first.values, second.values)
    assert torch.equal(first.indices, second.indices)


@dictionaries
def test_a_step_of_the_input_changes_the_reconstruction_as_its_gradient_says(make: Callable[[], Dictionary]) -> None:
    dictionary, x = make(), data(20).double()
    dictionary = dictionary.double() if isinstance(dictionary, torch.nn.Module) else dictionary
    if not isinstance(dictionary, torch.nn.Module):
        x = x.float()
    generator = torch.Generator().manual_seed(3)
    along = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
    weights = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
    x.requires_grad_()
    given = (dictionary.decode(dictionary.encode(x)) * weights).sum()
    if not given.requires_grad:
        return
    (gradient,) = torch.autograd.grad(given, x)
    step = 1e-6 if x.dtype == torch.float64 else 1e-3
    with torch.no_grad():
        ends = [(dictionary(x + sign * step * along) * weights).sum(dim=1) for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * step)
    close = torch.isclose((gradient * along).sum(dim=1), expected, rtol=1e-2, atol=1e-2)
    assert close.float().mean() > 0.8, "All but rows whose active latents change within the step."


@dictionaries
def test_rows_are_encoded_independently(make: Callable[[], Dictionary]) -> None:
    dictionary = make()
    x = data(20)
    torch.testing.assert_close(dictionary.encode(x[3:4]).dense(), dictionary.encode(x).dense()[3:4])


@trainable
def test_codes_are_those_of_the_formula(make: Callable[[], SparseCoder]) -> None:
    dictionary = make()
    x = data(30)
    with torch.no_grad():
        expected = slow_codes(dictionary, x, training=False)
        torch.testing.assert_close(dictionary.encode(x).dense(), expected)
        torch.testing.assert_close(dictionary(x), expected @ dictionary.W_dec + dictionary.b_dec)
        torch.testing.assert_close(
            dictionary.losses(x, HALF).codes.dense(), slow_codes(dictionary, x, training=True), rtol=1e-4, atol=1e-5
        )


@trainable
@pytest.mark.parametrize("dense", [False, True])
def test_gradients_agree_with_the_slow_twin(
    make: Callable[[], SparseCoder], dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "DENSE", 0.0 if dense else 1.1)
    dictionary, slow = make(), make()
    x = data(60)
    dictionary.losses(x, HALF).total.backward()
    slow_loss(slow, x).backward()
    for (name, mine), theirs in zip(dictionary.named_parameters(), slow.parameters(), strict=True):
        if name != "threshold":
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("make", RAGGED.values(), ids=RAGGED.keys())
def test_dense_and_sparse_paths_agree(make: Callable[[], SparseCoder], monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for limit in (0.0, 1.1):
        monkeypatch.setattr(functions, "DENSE", limit)
        dictionary = make()
        losses = dictionary.losses(data(60), HALF)
        losses.total.backward()
        dictionary.observe(losses.codes, context())
        gradients = [parameter.grad for parameter in dictionary.parameters()]
        results.append([*losses.terms.values(), losses.codes.dense(), *gradients, dictionary.silent_tokens])
        assert torch.equal(losses.codes.l0, (losses.codes.dense() != 0).sum(dim=1).float())
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


@trainable
@pytest.mark.parametrize("n", [0, 1])
def test_few_rows_give_finite_losses_and_gradients(make: Callable[[], SparseCoder], n: int) -> None:
    dictionary = make()
    losses = dictionary.losses(data(40)[:n], HALF)
    losses.total.backward()
    dictionary.observe(losses.codes, context())
    assert torch.isfinite(losses.total)
    assert all(torch.isfinite(p.grad).all() for p in dictionary.parameters())
    assert len(losses.codes) == n


@trainable
@pytest.mark.parametrize("matmul_dtype", [torch.float32, torch.bfloat16])
def test_loss_falls_and_unit_rows_stay_so(make: Callable[[], SparseCoder], matmul_dtype: torch.dtype) -> None:
    dictionary = make()
    optimiser = torch.optim.Adam(dictionary.parameters(), lr=2e-2)
    totals = []
    for number in range(20):
        losses = one_step(dictionary, optimiser, data(100, seed=number), matmul_dtype)
        totals.append(sum(float(term) for name, term in losses.terms.items() if name != "aux"))
    assert sum(totals[-4:]) < 0.9 * sum(totals[:4])
    if make in UNIT.values():
        torch.testing.assert_close(dictionary.W_dec.detach().norm(dim=1), torch.ones(dictionary.n_latents))


@unit
def test_gradient_along_decoder_rows_is_removed(make: Callable[[], SparseCoder]) -> None:
    dictionary = make()
    dictionary.losses(data(50), context()).total.backward()
    size = dictionary.W_dec.grad.norm()
    dictionary.project_gradients()
    along = (dictionary.W_dec.grad * dictionary.W_dec).sum(dim=1).detach()
    torch.testing.assert_close(along, torch.zeros_like(along), atol=float(1e-6 * size), rtol=0)


@unit
def test_constraint_is_applied_after_the_step(make: Callable[[], SparseCoder]) -> None:
    """Rows that are scaled before the step would be left with another norm by it."""
    dictionary = make()
    optimiser = torch.optim.SGD(dictionary.parameters(), lr=10.0)
    one_step(dictionary, optimiser, data(100))
    torch.testing.assert_close(dictionary.W_dec.detach().norm(dim=1), torch.ones(dictionary.n_latents))


@trainable
def test_losses_change_no_state(make: Callable[[], SparseCoder]) -> None:
    dictionary = make()
    before = {name: tensor.clone() for name, tensor in dictionary.state_dict().items()}
    dictionary.losses(data(30), context())
    dictionary(data(30))
    for name, tensor in dictionary.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@trainable
def test_silence_is_counted_in_vectors(make: Callable[[], SparseCoder]) -> None:
    dictionary = make()
    active = torch.zeros(7, dictionary.n_latents)
    active[2, 1] = 0.5
    dictionary.observe(Codes.from_dense(active), StepContext())
    dictionary.observe(Codes.from_dense(active[:3]), StepContext())
    expected = torch.full((dictionary.n_latents,), 10)
    expected[1] = 0
    assert torch.equal(dictionary.silent_tokens, expected)


@trainable
def test_saved_and_loaded_gives_equal_codes(make: Callable[[], SparseCoder], tmp_path: Path) -> None:
    dictionary = make()
    with torch.no_grad():
        dictionary.b_enc.normal_(std=0.1)
    save_dictionary(dictionary, tmp_path)
    loaded = load_dictionary(tmp_path)
    x = data(50)
    first, second = dictionary.encode(x), loaded.encode(x)
    assert torch.equal(first.dense(), second.dense())
    assert torch.equal(dictionary(x), loaded(x))
    assert loaded.metadata == dictionary.metadata


@trainable
def test_folding_takes_the_units_of_the_data(make: Callable[[], SparseCoder]) -> None:
    dictionary = make()
    x, mean, scale = data(50), torch.randn(D), 2.5
    folded = dictionary.folded(mean, scale)
    raw = x / scale + mean
    torch.testing.assert_close(folded.encode(raw).dense() * scale, dictionary.encode(x).dense(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close((folded(raw) - mean) * scale, dictionary(x), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(folded.directions.norm(dim=1), dictionary.directions.norm(dim=1))


@trainable
@torch.no_grad()
def test_bf16_codes_are_near_those_of_fp32(make: Callable[[], SparseCoder]) -> None:
    dictionary = make()
    x = data(100)
    exact, rounded = dictionary(x), dictionary.decode(dictionary.encode(x, torch.bfloat16))
    assert float((exact - rounded).square().sum() / (x - x.mean(dim=0)).square().sum()) < 0.02


@trainable
def test_another_width_is_refused_with_both(make: Callable[[], SparseCoder]) -> None:
    with pytest.raises(VectorError, match=r"width 12.*width 13"):
        make().encode(torch.zeros(2, 13))
