"""The short functions at the face: train, encode and evaluate on what is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import monosema as ms
from monosema.activations import open_rows
from monosema.core import ConfigError, VectorError
from monosema.dictionaries import Codes, Dictionary, Metadata, at_sites, dictionary_config, make_coder
from monosema.models import Transformer, random_model


def sparse_sums(n: int = 2_000) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    active = (torch.rand(n, 24, generator=draw) < 0.1) * torch.rand(n, 24, generator=draw)
    return active @ torch.randn(24, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def vectors() -> torch.Tensor:
    return sparse_sums()


@pytest.fixture(scope="module")
def trained(vectors: torch.Tensor) -> Dictionary:
    return ms.train(vectors, n_latents=48, k=3, passes=30)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


def test_a_matrix_in_memory_is_trained_on(trained: Dictionary, vectors: torch.Tensor) -> None:
    assert repr(trained) == "TopK(12 → 48 latents, vectors)"
    error = (vectors - trained(vectors)).square().sum() / (vectors - vectors.mean(0)).square().sum()
    assert float(error) < 0.35
    assert not trained(vectors).requires_grad


def test_files_and_arrays_train_the_same_dictionary(vectors: torch.Tensor, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", vectors.numpy())
    settings = {"n_latents": 16, "k": 2, "passes": 1}
    one = ms.train(vectors.numpy(), tmp_path / "kept", **settings)
    other = ms.train(tmp_path / "vectors.npy", **settings)
    assert torch.equal(one.directions, other.directions)
    assert (tmp_path / "kept" / "cfg.json").exists()
    assert torch.equal(ms.load_dictionary(tmp_path / "kept").directions, one.directions)


def test_what_cannot_be_trained_on_is_said(vectors: torch.Tensor) -> None:
    with pytest.raises(VectorError, match="must be a matrix"):
        ms.train(vectors[0])
    with pytest.raises(VectorError, match="NaN"):
        ms.train(torch.where(vectors > 1, torch.nan, vectors))
    with pytest.raises(ConfigError, match="sparseness"):
        ms.train(vectors, sparseness=3)
    assert repr(open_rows(vectors)) == "VectorStore(vectors: 2,000 vectors of width 12, float32)"


def test_codes_of_many_rows_come_together(trained: Dictionary, vectors: torch.Tensor, tmp_path: Path) -> None:
    rows = vectors.repeat(3, 1)
    codes = ms.encode(trained, rows)
    assert isinstance(codes, Codes)
    torch.testing.assert_close(codes.dense(), trained.encode(rows).dense())
    assert repr(codes).startswith("Codes(6000 vectors, 48 latents, L0 ")
    ms.save_dictionary(trained, tmp_path / "one")
    assert ms.encode(tmp_path / "one", vectors.view(10, 200, 12).numpy()).dense().shape == (10, 200, 48)
    ragged = make_coder("jumprelu", 12, 48)
    torch.testing.assert_close(ms.encode(ragged, rows).dense(), ragged.encode(rows).dense())


def test_a_dictionary_is_evaluated_beside_its_controls(model: Transformer) -> None:
    coder = make_coder("topk", model.d_model, 64, k=4)
    coder.metadata = Metadata(model=model.name, site=ms.Site.parse("0.resid_post"), context=32)
    found = ms.evaluate(model, coder, tokens=300)
    assert [row.name for row in found.rows] == ["dictionary", "pca", "random"]
    assert found.dictionary.metrics["l0"].value == pytest.approx(4, abs=0.1)
    assert found.row("pca").n_latents == 4
    assert {"fvu", "kl"} <= found.dictionary.metrics.keys()
    listed = ms.evaluate(model, coder, ["some text to look at", "and some more of it"], site="1.resid_post")
    assert (len(listed.rows), listed.site) == (1, "blocks.1.hook_resid_post")
    assert repr(coder) == "TopK(32 → 64 latents, 0.resid_post of random-0)"
    with pytest.raises(ConfigError, match="site="):
        ms.evaluate(model, make_coder("topk", model.d_model, 8, k=2))


@pytest.mark.parametrize("architecture", ["transcoder", "crosscoder"])
def test_dictionaries_of_two_sites_are_evaluated(model: Transformer, architecture: str) -> None:
    coder = dictionary_config(architecture, n_latents=32, k=3).make([model.d_model] * 2)
    sites = [ms.Site.parse("0.mlp_in"), ms.Site.parse("0.mlp_out")]
    coder.metadata = at_sites(Metadata(context=32), sites, architecture == "transcoder")
    found = ms.evaluate(model, coder, tokens=200)
    assert {row.name for row in found.rows} == {"dictionary", "pca", "random"}
