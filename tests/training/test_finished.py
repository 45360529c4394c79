"""A finished dictionary is given again, never silently replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from topk_on_file import train_on_vectors

from monosema.core import RunError
from monosema.dictionaries import load_dictionary, make_coder, save_dictionary
from monosema.runs import read_vector_recipe, train_vectors
from monosema.training import TrainResult
from monosema.training.trainer import Trainer


def vectors(path: Path, seed: int = 0) -> Path:
    np.save(path, np.random.default_rng(seed).normal(size=(400, 8)).astype("float32"))
    return path


@pytest.fixture
def x(tmp_path: Path) -> Path:
    return vectors(tmp_path / "x.npy")


def trained(x: Path, out: Path, k: int = 2) -> TrainResult:
    return train_on_vectors(x, latents=16, k=k, batch=50, out=out)


def contents(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(out.iterdir())}


def test_another_recipe_is_refused_and_nothing_changes(x: Path, tmp_path: Path) -> None:
    out = tmp_path / "d"
    trained(x, out)
    before = contents(out)
    with pytest.raises(RunError, match=r"finished dictionary \(TopK, 16 latents, k = 2\), trained by another recipe"):
        trained(x, out, k=3)
    with pytest.raises(RunError, match="on other vectors"):
        trained(vectors(tmp_path / "y.npy", seed=1), out)
    assert contents(out) == before


def test_the_same_training_is_not_done_twice(x: Path, tmp_path: Path) -> None:
    first = trained(x, tmp_path / "d")
    before = contents(tmp_path / "d")
    assert trained(x, tmp_path / "d") == first
    assert contents(tmp_path / "d") == before


def test_a_moved_dictionary_says_where_it_is(x: Path, tmp_path: Path) -> None:
    trained(x, tmp_path / "d")
    (tmp_path / "d").rename(tmp_path / "e")
    assert trained(x, tmp_path / "e").dictionary == tmp_path / "e"


@pytest.mark.parametrize("file", ["sae_weights.safetensors", "cfg.json", "training.json"])
def test_what_is_damaged_is_made_again(file: str, x: Path, tmp_path: Path) -> None:
    trained(x, tmp_path / "d")
    whole = contents(tmp_path / "d")["sae_weights.safetensors"]
    (tmp_path / "d" / file).unlink()
    if file == "sae_weights.safetensors":
        (tmp_path / "d" / file).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    if file == "training.json":
        with pytest.raises(RunError, match="was not trained there"):
            trained(x, tmp_path / "d")
        return
    trained(x, tmp_path / "d")
    assert contents(tmp_path / "d")["sae_weights.safetensors"] == whole


def test_a_dictionary_from_elsewhere_stays(x: Path, tmp_path: Path) -> None:
    save_dictionary(make_coder("topk", d_in=8, n_latents=24, k=2), tmp_path / "d")
    with pytest.raises(RunError, match=r"\(TopK, 24 latents, k = 2\) that was not trained there"):
        trained(x, tmp_path / "d")
    assert load_dictionary(tmp_path / "d").n_latents == 24


def test_another_layout_is_refused_before_training(x: Path, tmp_path: Path) -> None:
    save_dictionary(make_coder("topk", d_in=8, n_latents=24, k=2), tmp_path / "d", "sparsify")
    recipe = read_vector_recipe(["--latents", "12", "--k", "3", "--batch", "50"])
    with pytest.raises(RunError, match="in another library's layout"):
        train_vectors(x, tmp_path / "d", recipe, "cpu", update=True)


def test_update_goes_on_where_it_was_interrupted(x: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command, --update and all, does not begin anew; of another training it leaves nothing."""
    out = tmp_path / "d"
    trained(x, out)
    words = ["--latents", "12", "--k", "3", "--batch", "50", "--checkpoint-steps", "2", "--passes", "3"]
    steps: list[int] = []
    step = Trainer.step

    def interrupted(self: Trainer, *batches: Any) -> Any:
        steps.append(self.step_number)
        if len(steps) == 10:
            raise KeyboardInterrupt
        return step(self, *batches)

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_vectors(x, out, read_vector_recipe(words), "cpu", update=True)
    train_vectors(x, out, read_vector_recipe(words), "cpu", update=True)
    assert steps[10] == 8
    other = [*words, "--lr", "0.001"]
    train_vectors(x, out, read_vector_recipe(other), "cpu", update=True)
    assert steps[-1] == 20
    assert load_dictionary(out).n_latents == 12


def test_update_replaces(x: Path, tmp_path: Path) -> None:
    out = tmp_path / "d"
    trained(x, out)
    recipe = read_vector_recipe(["--latents", "12", "--k", "3", "--batch", "50"])
    with pytest.raises(RunError, match="--update"):
        train_vectors(x, out, recipe, "cpu")
    train_vectors(x, out, recipe, "cpu", update=True)
    assert load_dictionary(out).n_latents == 12
