"""Transcoders and crosscoders through the one trainer: from stores of several sites to saved dictionaries."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from monosema.activations import CaptureConfig, Store, capture_to_store
from monosema.core import ConfigError, VectorError
from monosema.data import Document, TextConfig, token_batches
from monosema.dictionaries import SparseCoder, load_dictionary
from monosema.models import random_model
from monosema.training import TrainConfig, held_out_metrics, train_crosscoder, train_transcoder

SITES = ("0.resid_post", "1.mlp_in", "1.mlp_out", "1.mlp.post")
HELD_OUT = 200
OPTIONS = {"held_out": HELD_OUT, "batch": 64, "passes": 2, "n_latents": 64, "k": 4}
CONFIG = TrainConfig(product="float32")


class Words:
    """A corpus of random sentences."""

    name = "words"
    digest = "0123456789abcdef"

    def documents(self) -> Iterator[Document]:
        rng = random.Random(0)
        words = ["a", "the", "cat", "dog", "house", "runs", "sleeps", "sees", "old", "red", "green", "and", "not"]
        for number in range(30):
            yield Document(number, " ".join(rng.choices(words, k=30)), "words")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    model = random_model()
    batches = token_batches(Words(), model.tokenizer, TextConfig(window=32, batch=8, split="all"))
    return capture_to_store(model, batches, list(SITES), tmp_path_factory.mktemp("store"), CaptureConfig())


def held_out(store: Store, *sites: str) -> torch.Tensor:
    return torch.cat([store.read(site, store.rows - HELD_OUT, store.rows) for site in sites], dim=1)


def fvu(wanted: torch.Tensor, given: torch.Tensor) -> float:
    return float((wanted - given).square().sum() / (wanted - wanted.mean(dim=0)).square().sum())


@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_writes_one_site_from_another_in_the_models_own_units(
    store: Store, tmp_path: Path, skip: bool
) -> None:
    result = train_transcoder(store, "1.mlp_in", "1.mlp.post", tmp_path, CONFIG, skip=skip, **OPTIONS)
    saved = load_dictionary(tmp_path)
    assert isinstance(saved, SparseCoder)
    assert saved.title == "Transcoder"
    assert (saved.d_in, saved.d_out) == (store.width("1.mlp_in"), store.width("1.mlp.post"))
    read, written = held_out(store, "1.mlp_in"), held_out(store, "1.mlp.post")
    own = fvu(written, saved(read))
    assert result.held_out_fvu == pytest.approx(own, rel=1e-3)
    assert own < 0.9
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert result.training_fvu < first["fvu"]


def test_a_crosscoder_reconstructs_each_site_in_its_own_units(store: Store, tmp_path: Path) -> None:
    places = [(store, "0.resid_post"), (store, "1.mlp_out")]
    result = train_crosscoder(places, tmp_path, CONFIG, **OPTIONS)
    saved = load_dictionary(tmp_path)
    assert isinstance(saved, SparseCoder)
    assert saved.title == "Crosscoder"
    rows = held_out(store, "0.resid_post", "1.mlp_out")
    assert result.held_out_fvu == pytest.approx(fvu(rows, saved(rows)), rel=1e-3)
    by_hand = [fvu(x, y) for x, y in zip(rows.chunk(2, dim=1), saved(rows).chunk(2, dim=1), strict=True)]
    torch.testing.assert_close(saved.fvu_of_sites(rows), torch.tensor(by_hand), rtol=1e-3, atol=1e-4)
    assert max(by_hand) < 0.9


def test_figures_of_a_transcoder_are_of_what_it_writes(store: Store, tmp_path: Path) -> None:
    train_transcoder(store, "1.mlp_in", "1.mlp_out", tmp_path, CONFIG, **OPTIONS)
    saved, rows = load_dictionary(tmp_path), held_out(store, "1.mlp_in", "1.mlp_out")
    whole, blocks = held_out_metrics(saved, rows), held_out_metrics(saved, rows, block=7)
    assert whole.fvu == pytest.approx(blocks.fvu, rel=1e-5)
    assert whole.l0 == blocks.l0 <= OPTIONS["k"]


def test_sites_that_make_no_crosscoder_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two sites at least"):
        train_crosscoder([(store, "1.mlp_out")], tmp_path, CONFIG, **OPTIONS)
    with pytest.raises(VectorError, match=r"one width.*0\.resid_post.*1\.mlp\.post"):
        train_crosscoder([(store, "0.resid_post"), (store, "1.mlp.post")], tmp_path, CONFIG, **OPTIONS)
