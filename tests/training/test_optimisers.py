"""Optimisers: the published rules, exact resume, and that a batch in parts is the batch."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from topk_on_file import train_on_vectors

from monosema.core import ConfigError
from monosema.dictionaries import SparseCoder, load_dictionary, make_coder
from monosema.training import TrainConfig, TrainingRun, learning_rate
from monosema.training.distribution import Mesh
from monosema.training.muon import COEFFICIENTS, Muon, orthogonal_part
from monosema.training.optimisers import Optimisers, ScheduleFreeSign
from monosema.training.trainer import Trainer

KINDS = ("adam", "sign_sgd", "muon")
WEIGHTS = "sae_weights.safetensors"


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    path = tmp_path / "x.npy"
    np.save(path, (generator.standard_normal((1200, 6)) @ generator.standard_normal((6, 12)) + 2).astype("float32"))
    return path


def test_schedule_free_signs_are_the_papers_equations() -> None:
    torch.manual_seed(0)
    gradients = torch.randn(7, 5)
    rates = [0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3]
    y = torch.nn.Parameter(torch.randn(5))
    optimiser = ScheduleFreeSign([y], lr=0.1, beta=0.9)
    z = x = y.detach().clone()
    squares = 0.0
    for gradient, rate in zip(gradients, rates, strict=True):
        y.grad = gradient.clone()
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
        squares += rate**2
        z = z - rate * gradient.sign()
        x = (1 - rate**2 / squares) * x + rate**2 / squares * z
        torch.testing.assert_close(y.detach(), 0.1 * z + 0.9 * x)
    optimiser.settle()
    torch.testing.assert_close(y.detach(), x)


class Threads(Mesh):
    """Shards of latents that are threads of one process."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.shards, self._said, self._all = number, [], threading.Barrier(number)

    def sum_over_latents(self, part: torch.Tensor) -> torch.Tensor:
        self._said.append(part)
        self._all.wait(10)
        total = torch.stack(self._said).sum(dim=0)
        if self._all.wait(10) == 0:
            self._said.clear()
        self._all.wait(10)
        return total


@pytest.mark.parametrize("rows", [48, 6])
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_muon_of_parts_is_that_of_the_whole_matrix(rows: int, shards: int) -> None:
    """To float32's rounding, and PyTorch's to that of bf16; also where PyTorch takes the other product (fewer rows)."""
    torch.manual_seed(0)
    begun, gradients = torch.randn(rows, 12), torch.randn(3, rows, 12)
    whole = torch.nn.Parameter(begun.clone())
    theirs = torch.optim.Muon([whole], lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for gradient in gradients:
        whole.grad = gradient.clone()
        theirs.step()

    def learnt(shards: int) -> torch.Tensor:
        mesh, parts = Threads(shards), [torch.nn.Parameter(part.clone()) for part in begun.chunk(shards)]

        def learn(number: int) -> None:
            ours = Muon([parts[number]], 0.01, mesh)
            for gradient in gradients:
                parts[number].grad = gradient.chunk(shards)[number].clone()
                ours.step()

        threads = [threading.Thread(target=learn, args=(number,)) for number in range(shards)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return torch.cat([part.detach() for part in parts])

    moved, expected = learnt(shards) - begun, whole.detach() - begun
    torch.testing.assert_close(learnt(shards), learnt(1), rtol=0, atol=1e-6)
    assert float((moved - expected).norm() / expected.norm()) < 0.03


@pytest.mark.parametrize("shape", [(48, 12), (6, 12), (12, 12)])
def test_steps_on_the_gram_matrix_are_those_on_the_matrix(shape: tuple[int, int]) -> None:
    """Also where singular values differ a thousandfold, and where some are 0."""
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    x = (u * torch.logspace(0, -3, u.shape[1], dtype=torch.float64)) @ v
    found = orthogonal_part(x.float(), Mesh())
    a, b, c = COEFFICIENTS
    x = x / x.norm()
    for _ in range(5):
        gram = x.T @ x
        x = a * x + x @ (b * gram + c * gram @ gram)
    assert float((found.double() - x).norm() / x.norm()) < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimiser_learns(vectors: Path, tmp_path: Path, kind: str) -> None:
    config = TrainConfig(optimiser=kind, lr=1e-2)
    result = train_on_vectors(vectors, latents=64, k=4, batch=50, out=tmp_path / "d", passes=4, config=config)
    start = train_on_vectors(vectors, latents=64, k=4, batch=50, out=tmp_path / "s", config=TrainConfig(lr=1e-9))
    assert result.held_out_fvu is not None
    assert start.held_out_fvu is not None
    assert result.held_out_fvu < 0.7 * start.held_out_fvu
    norms = load_dictionary(tmp_path / "d").directions.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(64))


@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_optimiser_goes_on_to_the_bit(
    vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    config = TrainConfig(optimiser=kind, checkpoint_steps=4)

    def run(out: Path) -> bytes:
        train_on_vectors(vectors, latents=64, k=4, batch=100, out=out, passes=2, config=config)
        return (out / WEIGHTS).read_bytes()

    step = Trainer.step

    def stop(self: Trainer, *batches: torch.Tensor) -> Any:
        if self.step_number == 10:
            raise KeyboardInterrupt
        return step(self, *batches)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", stop)
        run(tmp_path / "a")
    assert run(tmp_path / "a") == run(tmp_path / "b")


def test_what_is_forgotten_of_latents_that_begin_anew() -> None:
    for kind in KINDS:
        parameters = [torch.nn.Parameter(torch.randn(6, 3)), torch.nn.Parameter(torch.randn(3))]
        optimisers = Optimisers(parameters, TrainConfig(optimiser=kind, epsilon=1e-8), 0.1)
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimisers.step(0.1)
        with torch.no_grad():
            parameters[0][2] = 7.0
        before = {name: value.clone() for name, value in optimisers.tensors().items()}
        optimisers.forget(torch.tensor([2]), 6)
        for name, value in optimisers.tensors().items():
            if value.shape == (6, 3):
                assert (value[2] == (7.0 if name.endswith(".z") else 0.0)).all(), (kind, name)
                assert torch.equal(value[[0, 1, 3, 4, 5]], before[name][[0, 1, 3, 4, 5]])
            else:
                assert torch.equal(value, before[name])


def test_signs_take_larger_steps_that_depend_on_width_alone() -> None:
    assert learning_rate(2**14, 10**6, "sign_sgd") == learning_rate(2**14, 10, "sign_sgd") == pytest.approx(5e-3)
    assert learning_rate(2**16, 10, "sign_sgd") == pytest.approx(2.5e-3)


def test_an_average_without_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match="beta1 = 0"):
        Optimisers([torch.nn.Parameter(torch.ones(2))], TrainConfig(optimiser="sign_sgd", beta1=0), 0.1)


def dictionaries() -> list[SparseCoder]:
    shape = {"d_in": 12, "n_latents": 40}
    return [
        make_coder("topk", **shape, k=4, dead_after=1),
        make_coder("l1", **shape, l1_coefficient=0.1),
        make_coder("jumprelu", **shape, bandwidth=0.3),
        make_coder("gated", **shape),
    ]


@pytest.mark.parametrize(("product", "atol", "loss_rtol"), [("float32", 1e-5, 1e-4), ("bfloat16", 3e-4, 1e-3)])
@pytest.mark.parametrize("number", range(4))
def test_a_batch_in_parts_gives_the_step_of_the_batch(
    tmp_path: Path, number: int, product: Literal["float32", "bfloat16"], atol: float, loss_rtol: float
) -> None:
    """To the rounding of the products: sums over rows in another order."""
    torch.manual_seed(0)
    batches = torch.randn(3, 96, 12) @ torch.randn(12, 12)
    states = []
    for parts in (1, 4):
        dictionary = dictionaries()[number]
        dictionary.start(batches[0], 0)
        # The second half is dead at first, so that AuxK takes part.
        dictionary.silent_tokens[20:] = 10**9
        member = TrainingRun(
            dictionary, TrainConfig(accumulate=parts, lr=1e-2, epsilon=1e-4, product=product), tmp_path
        )
        member.prepare(100, 96)
        seen = [member.step(batch) for batch in batches]
        states.append(
            (dictionary.state_dict(), [(float(s.total.detach()), float(s.fvu), float(s.codes.l0.mean())) for s in seen])
        )
    (whole, whole_losses), (parted, parted_losses) = states
    np.testing.assert_allclose(parted_losses, whole_losses, rtol=loss_rtol)
    for name, value in whole.items():
        torch.testing.assert_close(
            parted[name], value, rtol=1e-3, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_a_batch_that_has_no_equal_parts_is_refused(vectors: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"accumulate = 3.*100 rows"):
        train_on_vectors(vectors, latents=64, k=4, batch=100, out=tmp_path / "d", config=TrainConfig(accumulate=3))
