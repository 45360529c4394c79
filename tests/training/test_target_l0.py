"""A coefficient that follows a target: reached on held-out rows, resumed to the bit, the same in every process."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from monosema.activations import Preprocessing, StoreStream, open_rows
from monosema.core import ConfigError
from monosema.dictionaries import ACTIVATIONS, Activated, Rectified, make_coder, register_activation
from monosema.training import TrainConfig, Trainer, train
from monosema.training.target_l0 import TargetL0, missed_target

D, LATENTS = 24, 96
CONFIG = TrainConfig(product="float32", lr=3e-3, log_every=10, checkpoint_steps=40)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that are sums of 4 of 48 directions on average, with a little noise."""
    generator = np.random.default_rng(0)
    directions = generator.standard_normal((48, D))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    codes = (generator.random((14_000, 48)) < 4 / 48) * generator.exponential(1.0, (14_000, 48))
    rows = codes @ directions + 0.05 * generator.standard_normal((14_000, D))
    rows *= D**0.5 / np.linalg.norm(rows, axis=1).mean()
    path = tmp_path_factory.mktemp("planted") / "x.npy"
    np.save(path, rows.astype("float32"))
    return path


def stream(path: Path) -> StoreStream:
    return StoreStream(
        open_rows(path), batch=100, seed=1, rows=slice(0, 12_000), preprocessing=Preprocessing.identity(D)
    )


def held(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(path)[12_000:])


@pytest.mark.parametrize("kind", ["l1", "gated", "jumprelu", "p_anneal"])
def test_every_coefficient_is_found(kind: str, planted: Path, tmp_path: Path) -> None:
    coder = make_coder(kind, D, LATENTS, start_l0=8.0)
    first = coder.coefficient
    result = train(coder, stream(planted), CONFIG.replace(target_l0=5), tmp_path, heldout=held(planted))
    assert result.l0 == pytest.approx(5, rel=0.1)
    assert result.coefficient != first
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["coefficient"] == result.coefficient
    saved = json.loads((tmp_path / "cfg.json").read_text())
    assert str(result.coefficient) in json.dumps(saved), "the file says what was found"


def test_an_activation_from_outside_follows_by_its_declared_coefficient(planted: Path, tmp_path: Path) -> None:
    @register_activation
    class Root(Rectified):
        name, title, coefficient, error_per = "root_for_target", "Root", "weight", "row"
        weight: float = 1.0

        def activate(self, coder, batch):  # type: ignore[no-untyped-def]
            pre, active = self.entries(coder, batch)
            codes = pre.relu()
            return Activated(codes, active, {"root": (codes + 0.01).sqrt().sum() * (self.weight / batch.rows)})

    try:
        coder = make_coder("root_for_target", D, LATENTS)
        result = train(coder, stream(planted), CONFIG.replace(target_l0=5), tmp_path, heldout=held(planted))
    finally:
        del ACTIVATIONS["root_for_target"]
    assert result.l0 == pytest.approx(5, rel=0.1)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.replace(target_l0=6)
    step = Trainer.step

    def stop(self: Trainer, batch: torch.Tensor) -> object:
        if self.step_number == 50:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", stop)
        train(make_coder("l1", D, LATENTS), stream(planted), config, tmp_path / "stopped")
    stopped = train(make_coder("l1", D, LATENTS), stream(planted), config, tmp_path / "stopped")
    whole = train(make_coder("l1", D, LATENTS), stream(planted), config, tmp_path / "whole")
    assert stopped.coefficient == whole.coefficient
    weights = "sae_weights.safetensors"
    assert (tmp_path / "stopped" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_where_k_sets_sparsity_the_target_is_k(planted: Path, tmp_path: Path) -> None:
    config = CONFIG.replace(target_l0=5)
    with pytest.raises(ConfigError, match=r"its L0 is k = 3.*Give k the same number"):
        train(make_coder("topk", D, LATENTS, k=3), stream(planted), config, tmp_path / "a")
    result = train(make_coder("topk", D, LATENTS, k=5), stream(planted), config, tmp_path / "b", heldout=held(planted))
    assert result.l0 == pytest.approx(5, rel=0.1)
    assert result.coefficient is None


def test_a_coefficient_of_zero_is_refused(planted: Path, tmp_path: Path) -> None:
    coder = make_coder("l1", D, LATENTS, l1_coefficient=0.0)
    with pytest.raises(ConfigError, match="--alpha above 0"):
        train(coder, stream(planted), CONFIG.replace(target_l0=5), tmp_path)


def test_it_settles_on_a_power_law_and_stays_in_range_where_it_can_not() -> None:
    control = TargetL0(20.0, first=1.0, steps=100)
    l0 = 100.0
    for step in range(100):
        control.follow(step, l0)
        l0 += 0.3 * (100 * control.coefficient**-0.7 - l0)
    assert l0 == pytest.approx(20, rel=0.05)
    stuck = TargetL0(20.0, first=1.0, steps=100)
    for step in range(100):
        stuck.follow(step, 0.0)
    assert stuck.coefficient == pytest.approx(0.01)
    assert math.isfinite(stuck.level)
    assert control.bound is None
    assert stuck.bound == "lower"


def test_a_target_that_was_missed_is_said_with_what_stands_in_its_way() -> None:
    control = TargetL0(600.0, first=1.0, steps=100)
    assert missed_target(600.0, 560.0, 100, control) is None
    assert missed_target(None, 338.0, 100, None) is None
    assert "Train longer" in str(missed_target(600.0, 338.0, 100, control))
    for step in range(100):
        control.follow(step, 338.0)
    said = str(missed_target(600.0, 338.0, 100, control))
    assert "--target-l0 600 was not reached in 100 steps: L0 is 338" in said
    assert "at its lower bound, 0.01. Begin with a smaller --alpha" in said
