"""An activation that is defined here and registered in one line: trained, resumed, swept, saved, loaded, described."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import Field

from monosema.activations import StoreStream, open_rows
from monosema.core import ConfigError, FormatError
from monosema.dictionaries import (
    ACTIVATIONS,
    Activated,
    Activation,
    Batch,
    Coder,
    SparseCoder,
    StepContext,
    architectures,
    dictionary_config,
    load_dictionary,
    make_coder,
    register_activation,
    save_dictionary,
)
from monosema.kernels import Full, encode_active
from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, override, parse_sweep, read_vector_recipe, run, sweep_vectors, train_vectors
from monosema.training import TrainConfig, TrainingRun
from monosema.training.trainer import Trainer

D, M = 8, 24


@register_activation
class Softplus(Activation):
    """c = log(1 + exp(β z)) / β above a threshold of its own, under an L1 penalty."""

    name = "softplus"
    title = "Softplus"
    coefficient = "l1_coefficient"
    divisible = True

    l1_coefficient: float = Field(0.01, ge=0)
    """Weight of the penalty."""
    sharpness: float = Field(4.0, gt=0)
    """β."""

    def add_tensors(self, coder: Coder) -> None:
        coder.keep("offset", torch.nn.Parameter(torch.full((coder.n_latents,), 0.1)))

    def activate(self, coder: Coder, batch: Batch) -> Activated:
        pre, active = encode_active(batch.x, coder.centre, coder.W_enc, coder.b_enc, None, None, batch.context.grid)
        codes = self.codes(pre, active.spread(coder.own("offset")))
        return Activated(codes, active, {"l1": self.l1_coefficient * codes.sum() / batch.rows})

    def encode(self, coder: Coder, x, matmul_dtype=None, grid=None):
        from monosema.dictionaries import Codes

        pre = (x if coder.centre is None else x - coder.centre) @ coder.W_enc.T + coder.b_enc
        return Codes.from_entries(self.codes(pre, coder.own("offset")), Full(len(x), coder.n_latents))

    def codes(self, pre: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        smooth = torch.nn.functional.softplus(pre - offset, beta=self.sharpness)
        return torch.where(pre > 0, smooth, 0)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(16, D, generator=generator), dim=1)
    active = (torch.rand(4000, 16, generator=generator) < 0.15) * torch.rand(4000, 16, generator=generator)
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, (active @ directions).float().numpy())
    return path


def recipe(*words: str):
    keys = "--architecture softplus --latents 24 --batch 100 --product float32 --lr 0.003"
    return read_vector_recipe([*keys.split(), *words])


def test_it_is_an_architecture_of_recipes() -> None:
    assert "softplus" in architectures()
    config = dictionary_config("softplus", n_latents=M)
    assert (config.title, config.coefficient, config.active_latents) == ("Softplus", "l1_coefficient", None)
    assert recipe("--alpha", "0.5").dictionary.l1_coefficient == 0.5


def test_it_trains_and_is_saved_with_its_own_tensors(vectors: Path, tmp_path: Path) -> None:
    result = train_vectors(vectors, tmp_path / "d", recipe("--training.log-every", "1"), "cpu")
    assert result.held_out_fvu < 0.6
    loaded = load_dictionary(tmp_path / "d")
    assert isinstance(loaded, SparseCoder)
    assert loaded.title == "Softplus"
    assert not torch.equal(loaded.own("offset"), torch.full((M,), 0.1))
    with pytest.raises(FormatError, match="sparsify can't hold a dictionary with the activation Softplus"):
        save_dictionary(loaded, tmp_path / "s", "sparsify")


def test_a_resumed_run_equals_an_uninterrupted_one(vectors: Path, tmp_path: Path) -> None:
    class StoppedError(RuntimeError):
        pass

    class Stopping(StoreStream):
        def __iter__(self):
            for number, batch in enumerate(super().__iter__()):
                if number == 12:
                    raise StoppedError
                yield batch

    def train_to(out: Path, kind: type[StoreStream]) -> None:
        stream = kind(open_rows(vectors), batch=100, seed=1)
        config = TrainConfig(product="float32", checkpoint_steps=5, lr=3e-3)
        member = TrainingRun(make_coder("softplus", D, M), config, out)
        Trainer([member], [stream], config, out).run()

    train_to(tmp_path / "whole", StoreStream)
    with pytest.raises(StoppedError):
        train_to(tmp_path / "parts", Stopping)
    train_to(tmp_path / "parts", StoreStream)
    weights = [(tmp_path / name / "sae_weights.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


def test_it_is_swept(vectors: Path, tmp_path: Path) -> None:
    sweep = parse_sweep(["alpha=0.01,0.1"])
    result = sweep_vectors(vectors, tmp_path, recipe(), sweep, "cpu")
    first, second = result.trials
    assert second.l0 < first.l0 or second.fvu > first.fvu


def test_a_run_evaluates_describes_and_reports_it(small_keys: dict[str, str], tmp_path: Path) -> None:
    keys = {name: value for name, value in small_keys.items() if name != "k"}
    made = run(override(demo(), {**keys, "architecture": "softplus"}, SHORT_KEYS), tmp_path)
    assert made.dictionary().title == "Softplus"
    assert made.evaluation().rows[0].metrics
    assert made.atlas().feature(0) is not None
    assert "Softplus" in next(tmp_path.glob("report/*.html")).read_text(encoding="utf-8")


def test_its_latents_can_be_divided() -> None:
    part = make_coder("softplus", D, M).shard(2)
    assert (part.n_latents, len(part.own("offset"))) == (M // 2, M // 2)


def test_transcoders_and_crosscoders_take_it(tmp_path: Path) -> None:
    for made in (
        make_coder("transcoder", D, M, d_out=5, activation="softplus", skip=True),
        make_coder("crosscoder", D, M, n_sites=2, activation="softplus"),
    ):
        rows = torch.randn(60, made.row_width, generator=torch.Generator().manual_seed(1))
        made.start(rows, 0)
        made.losses(rows, StepContext(1, 10, 60)).total.backward()
        loaded = load_dictionary(save_dictionary(made, tmp_path / made.title))
        x, _ = made.inputs_and_targets(rows)
        with torch.no_grad():
            torch.testing.assert_close(loaded(x), made(x))


def test_one_that_is_not_registered_is_refused_before_the_first_step(tmp_path: Path) -> None:
    class Private(Softplus):
        name = "private"

    config = TrainConfig(product="float32")
    with pytest.raises(FormatError, match=r"@register_activation"):
        TrainingRun(SparseCoder(D, M, Private()), config, tmp_path).prepare(10, 100)
    assert not any(tmp_path.iterdir())


def test_files_of_an_activation_that_is_not_there_say_what_to_do(tmp_path: Path) -> None:
    save_dictionary(make_coder("softplus", D, M), tmp_path)
    there = ACTIVATIONS.pop("softplus")
    try:
        with pytest.raises(FormatError, match=r"no activation 'softplus'.*module imported"):
            load_dictionary(tmp_path)
    finally:
        ACTIVATIONS["softplus"] = there


def test_a_name_belongs_to_one_class() -> None:
    class Other(Softplus):
        pass

    with pytest.raises(ConfigError, match="already"):
        register_activation(Other)
