"""The tokens that carry a feature's activation, against the codes in full."""

from __future__ import annotations

import numpy as np
import pytest

from monosema.atlas import build_atlas
from monosema.models import quoted


def test_shares_are_those_of_the_activation_mass(atlas, codes, model, config) -> None:
    for latent in range(atlas.n_latents):
        mass = np.bincount(codes.layout.token, codes.dense[:, latent], model.vocab)
        best = np.lexsort((np.arange(len(mass)), -mass))[: config.top_tokens]
        best = best[mass[best] > 0]
        top = atlas.feature(latent).top_tokens
        assert [one.id for one in top] == best.tolist()
        assert [one.weight for one in top] == pytest.approx((mass[best] / mass.sum()).tolist() if len(best) else [])
        assert [one.token for one in top] == model.tokenizer.tokens(best.tolist())


def test_a_feature_without_explanation_is_called_by_its_tokens(model, planted, text, config, tmp_path) -> None:
    atlas = build_atlas(model, planted, "embed", text(), tmp_path / "planted", config)
    for latent, piece in enumerate(("e", "t", "g", " ")):
        feature = atlas.feature(latent)
        assert (feature.label, feature.label_method) == (f"{quoted(piece)} (100 %)", "top tokens")
        assert [(one.token, one.weight) for one in feature.top_tokens] == [(piece, pytest.approx(1))]
        assert feature.promoted[0].token == piece
        assert (feature.explanations, feature.scores, feature.label_score) == ((), (), None)
    dead = atlas.feature(4)
    assert (dead.alive, dead.label, dead.label_score, dead.histogram, dead.examples) == (False, None, None, None, ())
    assert not [pair for pair in dead.neighbours if pair.kind == "decoder"]
