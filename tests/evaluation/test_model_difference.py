"""A crosscoder over two models finds what was planted in one of them, and nothing where they are equal."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from monosema.activations import CaptureConfig, capture_to_store
from monosema.core import ConfigError, CorpusError, Site
from monosema.data import Document, TextConfig, token_batches
from monosema.dictionaries import Metadata, SparseCoder, at_sites, load_dictionary, make_coder, share_of_other
from monosema.evaluation import ModelDifference, latent_scaling, model_difference
from monosema.models import AttentionConfig, ModelPair, Transformer, TransformerConfig, random_model
from monosema.training import TrainConfig, train_on_rows

SITES = ("0.resid_pre", "0.resid_pre@other")
D = 32
PLANTED = torch.nn.functional.normalize(torch.randn(D, generator=torch.Generator().manual_seed(1)), dim=0)
PLACES = torch.randperm(31, generator=torch.Generator().manual_seed(2))[:10] + 1


class Words:
    """A corpus of random sentences."""

    name = "words"
    digest = "0123456789abcdef"

    def documents(self) -> Iterator[Document]:
        rng = random.Random(0)
        words = [
            "a",
            "the",
            "cat",
            "dog",
            "house",
            "runs",
            "sleeps",
            "sees",
            "old",
            "red",
            "and",
            "quiz",
            "jump",
            "vex",
        ]
        for number in range(60):
            yield Document(number, " ".join(rng.choices(words, k=30)), "words")


def model(strength: float) -> Transformer:
    """Its residual stream begins with the token alone, but for a direction that is added at some positions."""
    made = random_model(
        TransformerConfig(
            family="gpt2",
            d_model=D,
            n_layers=1,
            n_heads=4,
            n_kv_heads=4,
            d_head=8,
            d_mlp=64,
            vocab=259,
            context=32,
            attention=(AttentionConfig(scale=8**-0.5),),
            learned_positions=True,
        )
    )
    with torch.no_grad():
        made.pos_embed.weight.zero_()
        made.pos_embed.weight[PLACES] = strength * made.embed.weight.norm(dim=1).mean() * PLANTED
    return made


def compare(first: float, second: float, out: Path, **dictionary: object) -> tuple[SparseCoder, ModelDifference]:
    pair = ModelPair(model(first), model(second))
    text = token_batches(Words(), pair.tokenizer, TextConfig(window=32, batch=16, split="all"))
    store = capture_to_store(pair, text, SITES, out / "store", CaptureConfig())
    places = [(store, Site.parse(site)) for site in SITES]
    about = at_sites(Metadata(), [site for _, site in places], transcodes=False)
    width = sum(store.width(site) for _, site in places)
    crosscoder = make_coder("crosscoder", width, 48, n_sites=len(places), metadata=about, **dictionary)
    training = TrainConfig(product="float32")
    train_on_rows(crosscoder, places, out / "crosscoder", training, batch=128, passes=3, heldout=1000)
    made = load_dictionary(out / "crosscoder")
    rows = torch.cat([store.read(site, store.rows - 1000, store.rows) for site in SITES], dim=1)
    return made, model_difference(made, rows, ("first", "second"))


def test_equal_models_have_no_latents_of_their_own(tmp_path: Path) -> None:
    _, found = compare(0.0, 0.0, tmp_path, activation="batch_topk", k=2)
    assert found.exclusive == ()
    assert found.shared == found.active > 20
    assert max(found.fvu) < 0.05


def test_what_was_planted_in_one_model_is_found_there(tmp_path: Path) -> None:
    made, found = compare(0.0, 1.0, tmp_path, activation="batch_topk", k=2)
    own = found.of(2, confirmed=True)
    assert own
    assert found.of(1) == ()
    rows = made.site_directions[[one.latent for one in own], 1]
    cosines = torch.nn.functional.cosine_similarity(rows, PLANTED[None])
    assert cosines.abs().min() > 0.95, "they are the planted direction"
    assert found.shared > 15
    assert f"{len(found.of(2))} to second alone ({len(own)})" in found.sentence
    assert ModelDifference.from_dict(found.to_dict()) == found


def test_an_l1_penalty_makes_false_latents_of_one_model_and_latent_scaling_says_so(tmp_path: Path) -> None:
    """The planted direction is in both models, at 0.3 and at 1: no latent of it belongs to one of them."""
    _, penalised = compare(0.3, 1.0, tmp_path / "l1", activation="relu", l1_coefficient=3.0)
    assert penalised.of(2), "complete shrinkage"
    assert penalised.of(2, confirmed=True) == ()
    made, kept = compare(0.3, 1.0, tmp_path / "batch_topk", activation="batch_topk", k=2)
    assert kept.exclusive == ()
    nearest = torch.nn.functional.cosine_similarity(made.site_directions[:, 1], PLANTED[None]).argmax()
    # Each model is scaled by its own norm, the second has the larger one.
    assert 0.7 < float(share_of_other(made)[nearest]) < 0.8


@torch.no_grad()
def by_hand(made: SparseCoder, rows: torch.Tensor, latent: int) -> tuple[float, float]:
    """The two ratios by least squares, one model and one target at a time."""
    f = made.encode(rows).dense()[:, latent]
    given = made(rows)
    own = int(share_of_other(made)[latent] > 0.5)
    d = (made.site_directions * made.site_scales[:, None])[latent]

    def in_units(y: torch.Tensor) -> torch.Tensor:
        return y.view(len(rows), 2, -1) * made.site_scales[:, None]

    def beta(y: torch.Tensor) -> float:
        along = torch.outer(f, d[own])
        return float((along * y).sum() / along.square().sum())

    error, rebuilt = in_units(rows - given), in_units(given - made.b_dec)
    without = [error[:, model] + torch.outer(f, d[model]) for model in (0, 1)]
    return beta(without[1 - own]) / beta(without[own]), beta(rebuilt[:, 1 - own]) / beta(rebuilt[:, own])


def random_crosscoder() -> SparseCoder:
    sites = [str(Site.parse(site)) for site in SITES]
    about = Metadata(extra={"sites": sites})
    made = make_coder("crosscoder", 16, 24, n_sites=2, k=3, scales=(0.5, 2.0), metadata=about, seed=3)
    with torch.no_grad():
        made.b_dec.copy_(torch.linspace(-1, 1, 16))
    return made


def test_latent_scaling_is_least_squares() -> None:
    made, rows = random_crosscoder(), torch.randn(300, 16, generator=torch.Generator().manual_seed(4))
    scaling = latent_scaling(made, rows, block=77)
    for latent in (0, 5, 17):
        error, reconstruction = by_hand(made, rows, latent)
        assert float(scaling.error_ratio[latent]) == pytest.approx(error, rel=1e-3, abs=1e-4)
        assert float(scaling.reconstruction_ratio[latent]) == pytest.approx(reconstruction, rel=1e-3, abs=1e-4)


def test_crosscoders_that_compare_no_models_are_refused() -> None:
    made = random_crosscoder()
    made.metadata = Metadata(extra={"sites": ["0.resid_pre", "0.resid_post"]})
    with pytest.raises(ConfigError, match="does not compare two models"):
        latent_scaling(made, torch.zeros(3, 16))
    with pytest.raises(CorpusError, match="no held-out rows"):
        model_difference(random_crosscoder(), torch.zeros(0, 16), ("a", "b"))
