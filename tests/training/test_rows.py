"""Training on any matrix: what is held out, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from topk_on_file import train_on_vectors

from monosema.core import ConfigError, VectorError
from monosema.dictionaries import load_dictionary
from monosema.training import held_out_metrics, held_out_rows


def matrix(path: Path, rows: int, width: int = 10, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    x = (generator.standard_normal((rows, 4)) @ generator.standard_normal((4, width)) + 3).astype("float32")
    np.save(path, x)
    return x


def test_the_last_rows_are_held_out(tmp_path: Path) -> None:
    x = matrix(tmp_path / "x.npy", 2000)
    result = train_on_vectors(tmp_path / "x.npy", latents=40, k=4, batch=90, out=tmp_path / "out")
    assert result.steps == 1800 // 90
    figures = held_out_metrics(load_dictionary(tmp_path / "out"), torch.from_numpy(x[-200:]))
    assert figures.fvu == pytest.approx(result.held_out_fvu, rel=1e-5)


def test_held_out_rows_do_not_influence_the_weights(tmp_path: Path) -> None:
    x = matrix(tmp_path / "x.npy", 1000)
    first = train_on_vectors(tmp_path / "x.npy", latents=20, k=3, batch=100, out=tmp_path / "a")
    x[-100:] = 1000.0
    np.save(tmp_path / "x.npy", x)
    second = train_on_vectors(tmp_path / "x.npy", latents=20, k=3, batch=100, out=tmp_path / "b")
    weights = [(result.dictionary / "sae_weights.safetensors").read_bytes() for result in (first, second)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("rows", "kept"), [(600_000, 20_480), (204_800, 20_480), (1000, 100), (5, 0)])
def test_how_many_are_held_out(rows: int, kept: int) -> None:
    assert held_out_rows(rows) == kept


def test_too_few_rows_for_a_batch(tmp_path: Path) -> None:
    matrix(tmp_path / "x.npy", 100)
    with pytest.raises(VectorError, match=r"100 rows: with 10 held out, 90 are left, and a batch takes 91"):
        train_on_vectors(tmp_path / "x.npy", latents=20, k=3, batch=91, out=tmp_path / "a")


def test_nan_is_refused_and_counted(tmp_path: Path) -> None:
    x = matrix(tmp_path / "x.npy", 500)
    x[7, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(VectorError, match=r"x\.npy: 1 value in 1 of"):
        train_on_vectors(tmp_path / "x.npy", latents=20, k=3, batch=50, out=tmp_path / "a")


def test_numbers_out_of_range(tmp_path: Path) -> None:
    matrix(tmp_path / "x.npy", 500)
    with pytest.raises(ConfigError, match="only 20 latents"):
        train_on_vectors(tmp_path / "x.npy", latents=20, k=21, batch=50, out=tmp_path / "a")
    with pytest.raises(ConfigError, match="n_latents"):
        train_on_vectors(tmp_path / "x.npy", latents=0, k=3, batch=50, out=tmp_path / "a")


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    matrix(tmp_path / "x.npy", 600)
    for name in ("a", "b"):
        train_on_vectors(tmp_path / "x.npy", latents=30, k=3, batch=50, out=tmp_path / name)
    weights = [(tmp_path / name / "sae_weights.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]
