"""What every dictionary must do, and what every one that can be trained must do besides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from monosema.core import VectorError
from monosema.dictionaries import (
    Codes,
    Dictionary,
    Moment,
    Neurons,
    Pca,
    RandomDirections,
    TopK,
    TopKConfig,
    load_dictionary,
    save_dictionary,
)

D = 12


def data(n: int = 400, seed: int = 0) -> torch.Tensor:
    """Sparse sums of a few directions around a mean that isn't zero."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(20, D, generator=torch.Generator().manual_seed(99)), dim=1)
    active = (torch.rand(n, 20, generator=generator) < 0.15) * torch.rand(n, 20, generator=generator)
    return active @ directions * 4 + 0.05 * torch.randn(n, D, generator=generator) + 3.0


def topk(m: int = 40, k: int = 4, **config: object) -> TopK:
    dictionary = TopK(TopKConfig(d_in=D, n_latents=m, k=k, **config))
    dictionary.start(data(), 0)
    return dictionary


ALL: dict[str, Callable[[], Dictionary]] = {
    "topk": topk,
    "topk, k = 1": lambda: topk(k=1),
    "topk, k = m": lambda: topk(m=9, k=9),
    "topk, m < d": lambda: topk(m=5, k=2),
    "topk, random start": lambda: topk(start="random", centre="median"),
    "pca": lambda: Pca.fit(data().split(64), 4),
    "random": lambda: RandomDirections.fit(data(), 40, 4),
    "neurons": lambda: Neurons(D),
    "neurons, k = 3": lambda: Neurons(D, k=3, signed=False),
}
TRAINABLE: dict[str, Callable[[], TopK]] = {name: make for name, make in ALL.items() if name.startswith("topk")}  # type: ignore[misc]
dictionaries = pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())
trainable = pytest.mark.parametrize("make", TRAINABLE.values(), ids=TRAINABLE.keys())


def moment(step: int = 0, product: torch.dtype | None = None) -> Moment:
    return Moment(step, 100, 400, product)


def one_step(dictionary: TopK, optimiser: torch.optim.Optimizer, x: torch.Tensor, product: torch.dtype | None = None):
    losses = dictionary.losses(x, moment(product=product))
    losses.total.backward()
    dictionary.project_gradients()
    optimiser.step()
    optimiser.zero_grad()
    dictionary.constrain()
    dictionary.observe(losses.codes)
    return losses


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
def test_dense_and_sparse_codes_decode_alike(make: Callable[[], Dictionary]) -> None:
    dictionary = make()
    codes = dictionary.encode(data(50))
    again = Codes.from_dense(codes.dense())
    torch.testing.assert_close(dictionary.decode(again), dictionary.decode(codes))
    zero = dictionary.decode(Codes.from_dense(torch.zeros(1, dictionary.n_latents)))
    linear = codes.dense() @ dictionary.directions + zero
    torch.testing.assert_close(linear, dictionary.decode(codes), rtol=1e-4, atol=1e-4)


@dictionaries
def test_encoding_changes_nothing(make: Callable[[], Dictionary]) -> None:
    dictionary = make()
    x = data(50)
    first = dictionary.encode(x)
    second = dictionary.encode(x)
    assert torch.equal(first.values, second.values)
    assert torch.equal(first.indices, second.indices)
    assert not first.values.requires_grad


@dictionaries
def test_rows_are_encoded_independently(make: Callable[[], Dictionary]) -> None:
    dictionary = make()
    x = data(20)
    torch.testing.assert_close(dictionary.encode(x[3:4]).dense(), dictionary.encode(x).dense()[3:4])


@trainable
def test_codes_are_topk_of_the_formula(make: Callable[[], TopK]) -> None:
    dictionary = make()
    x = data(30)
    k = dictionary.config.k
    pre = (x - dictionary.decoder_bias) @ dictionary.encoder.T + dictionary.encoder_bias
    kept = torch.zeros_like(pre).scatter(1, pre.topk(k, dim=1).indices, pre.topk(k, dim=1).values.relu())
    codes = dictionary.encode(x)
    torch.testing.assert_close(codes.dense(), kept.detach())
    assert (codes.l0 <= k).all()
    torch.testing.assert_close(dictionary(x), (kept @ dictionary.decoder + dictionary.decoder_bias).detach())


@trainable
def test_gradients_agree_with_the_slow_twin(make: Callable[[], TopK]) -> None:
    dictionary, slow = make(), make()
    x = data(60)
    dictionary.losses(x, moment()).total.backward()
    pre = (x - slow.decoder_bias) @ slow.encoder.T + slow.encoder_bias
    largest = pre.topk(slow.config.k, dim=1)
    codes = torch.zeros_like(pre).scatter(1, largest.indices, largest.values.relu())
    error = (x - codes @ slow.decoder - slow.decoder_bias).square().sum()
    (error / (x - x.mean(dim=0)).square().sum()).backward()
    for mine, theirs in zip(dictionary.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@trainable
@pytest.mark.parametrize("product", [torch.float32, torch.bfloat16])
def test_loss_falls_and_rows_stay_unit(make: Callable[[], TopK], product: torch.dtype) -> None:
    dictionary = make()
    optimiser = torch.optim.Adam(dictionary.parameters(), lr=1e-2)
    fvus = [float(one_step(dictionary, optimiser, data(200, seed=s), product).fvu) for s in range(60)]
    assert sum(fvus[-5:]) < 0.9 * sum(fvus[:5])
    torch.testing.assert_close(dictionary.decoder.norm(dim=1), torch.ones(dictionary.n_latents))


@trainable
def test_gradient_along_decoder_rows_is_removed(make: Callable[[], TopK]) -> None:
    dictionary = make()
    dictionary.losses(data(50), moment()).total.backward()
    size = dictionary.decoder.grad.norm()
    dictionary.project_gradients()
    along = (dictionary.decoder.grad * dictionary.decoder).sum(dim=1)
    torch.testing.assert_close(along, torch.zeros_like(along), atol=float(1e-6 * size), rtol=0)


@trainable
def test_constraint_is_applied_after_the_step(make: Callable[[], TopK]) -> None:
    """Rows that are scaled before the step would be left with another norm by it."""
    dictionary = make()
    optimiser = torch.optim.SGD(dictionary.parameters(), lr=10.0)
    one_step(dictionary, optimiser, data(100))
    torch.testing.assert_close(dictionary.decoder.norm(dim=1), torch.ones(dictionary.n_latents))


@trainable
def test_losses_change_no_state(make: Callable[[], TopK]) -> None:
    dictionary = make()
    before = {name: tensor.clone() for name, tensor in dictionary.state_dict().items()}
    dictionary.losses(data(30), moment())
    dictionary(data(30))
    for name, tensor in dictionary.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@trainable
def test_silence_is_counted_in_vectors(make: Callable[[], TopK]) -> None:
    dictionary = make()
    active = torch.zeros(7, dictionary.n_latents)
    active[2, 1] = 0.5
    dictionary.observe(Codes.from_dense(active))
    dictionary.observe(Codes.from_dense(active[:3]))
    expected = torch.full((dictionary.n_latents,), 10)
    expected[1] = 0
    assert torch.equal(dictionary.silent_tokens, expected)


@trainable
def test_saved_and_loaded_gives_equal_codes(make: Callable[[], TopK], tmp_path: Path) -> None:
    dictionary = make()
    with torch.no_grad():
        dictionary.encoder_bias.normal_(std=0.1)
    save_dictionary(dictionary, tmp_path)
    loaded = load_dictionary(tmp_path)
    x = data(50)
    first, second = dictionary.encode(x), loaded.encode(x)
    assert torch.equal(first.dense(), second.dense())
    assert torch.equal(dictionary(x), loaded(x))
    assert loaded.metadata == dictionary.metadata


@trainable
def test_folding_takes_the_units_of_the_data(make: Callable[[], TopK]) -> None:
    dictionary = make()
    x, mean, scale = data(50), torch.randn(D), 2.5
    folded = dictionary.folded(mean, scale)
    raw = x / scale + mean
    torch.testing.assert_close(folded.encode(raw).dense() * scale, dictionary.encode(x).dense(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close((folded(raw) - mean) * scale, dictionary(x), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(folded.directions.norm(dim=1), torch.ones(dictionary.n_latents))


@trainable
def test_bf16_codes_are_near_those_of_fp32(make: Callable[[], TopK]) -> None:
    dictionary = make()
    x = data(100)
    exact, rounded = dictionary(x), dictionary.decode(dictionary.encode(x, torch.bfloat16))
    assert float((exact - rounded).square().sum() / (x - x.mean(dim=0)).square().sum()) < 0.02


@trainable
def test_another_width_is_refused_with_both(make: Callable[[], TopK]) -> None:
    with pytest.raises(VectorError, match=r"width 12.*width 13"):
        make().encode(torch.zeros(2, 13))
