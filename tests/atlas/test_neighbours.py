from __future__ import annotations

import numpy as np
import pytest
import torch

from monosema.atlas import build_atlas
from monosema.atlas.neighbours import MIN_TOGETHER, decoder_neighbours


def test_coactivation_is_the_correlation_of_firing(atlas, codes) -> None:
    active = codes.dense[codes.layout.keep] > 0
    assert atlas.meta["text"]["coactivation_tokens"] == len(active)
    with np.errstate(invalid="ignore", divide="ignore"):
        phi = np.corrcoef(active.T)
    together = active.T.astype(int) @ active.astype(int)
    for latent in range(atlas.n_latents):
        near = [pair for pair in atlas.feature(latent).neighbours if pair.kind == "coactivation"]
        allowed = (together[latent] >= MIN_TOGETHER) & (phi[latent] > 0)
        allowed[latent] = False
        best = np.sort(phi[latent][allowed])[::-1][:4]
        assert [pair.value for pair in near] == pytest.approx(best.tolist(), abs=1e-5)
        for pair in near:
            assert pair.value == pytest.approx(phi[latent, pair.other], abs=1e-5)


def test_decoder_neighbours_have_the_largest_cosines(atlas, dictionary) -> None:
    unit = torch.nn.functional.normalize(dictionary.directions, dim=1)
    cosine = (unit @ unit.T).fill_diagonal_(-2)
    for latent in range(atlas.n_latents):
        near = [pair for pair in atlas.feature(latent).neighbours if pair.kind == "decoder"]
        best = cosine[latent].topk(4)
        assert [pair.other for pair in near] == best.indices.tolist()
        assert [pair.value for pair in near] == pytest.approx(best.values.tolist(), abs=1e-5)


def test_rough_products_find_the_same_neighbours(monkeypatch) -> None:
    directions = torch.randn(300, 64, generator=torch.Generator().manual_seed(0))
    exact = decoder_neighbours(directions, 5)
    monkeypatch.setattr("monosema.atlas.neighbours.bf16_is_fast", lambda device: True)
    monkeypatch.setattr("monosema.atlas.neighbours._EXACT", 100)
    rough = decoder_neighbours(directions, 5)
    assert (exact.other == rough.other).mean() > 0.99
    np.testing.assert_allclose(exact.value, rough.value, atol=2e-3)


def test_a_sample_of_the_tokens_estimates_the_same(model, dictionary, text, config, site, tmp_path, atlas) -> None:
    sampled = config.replace(coactivation_tokens=atlas.tokens // 2)
    half = build_atlas(model, dictionary, site, text(), tmp_path / "half", sampled)
    assert half.meta["text"]["coactivation_tokens"] == pytest.approx(atlas.tokens / 2, rel=0.15)
    rows = "select latent, other, value from neighbours where kind = 'coactivation' and rank = 0"
    full = {(row["latent"], row["other"]): row["value"] for row in atlas.sql(rows)}
    shared = [(full[key], row["value"]) for row in half.sql(rows) if (key := (row["latent"], row["other"])) in full]
    assert len(shared) > 10
    assert np.mean([abs(a - b) for a, b in shared]) < 0.1
