"""Transcoders and crosscoders through the one trainer: from stores of several sites to saved dictionaries."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from monosema.activations import CaptureConfig, Store, capture_to_store
from monosema.core import Site, VectorError
from monosema.data import Document, TextConfig, token_batches
from monosema.dictionaries import Metadata, SparseCoder, at_sites, load_dictionary, make_coder
from monosema.models import random_model
from monosema.training import TrainConfig, TrainResult, held_out_metrics, train_on_rows

SITES = ("0.resid_post", "1.mlp_in", "1.mlp_out", "1.mlp.post")
HELD_OUT = 200
K = 4


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


def trained(dictionary: SparseCoder, store: Store, out: Path, *sites: str) -> TrainResult:
    read = [Site.parse(site) for site in sites]
    dictionary.metadata = at_sites(Metadata(), read, dictionary.has_separate_target)
    places, config = [(store, site) for site in read], TrainConfig(product="float32")
    return train_on_rows(dictionary, places, out, config, batch=64, passes=2, heldout=HELD_OUT)


def transcoder(store: Store, read: str, written: str, skip: bool = False) -> SparseCoder:
    return make_coder("transcoder", store.width(read), 64, d_out=store.width(written), k=K, skip=skip)


def crosscoder(store: Store, *sites: str) -> SparseCoder:
    return make_coder("crosscoder", len(sites) * store.width(sites[0]), 64, n_sites=len(sites), k=K)


def held_out(store: Store, *sites: str) -> torch.Tensor:
    return torch.cat([store.read(site, store.rows - HELD_OUT, store.rows) for site in sites], dim=1)


def fvu(wanted: torch.Tensor, given: torch.Tensor) -> float:
    return float((wanted - given).square().sum() / (wanted - wanted.mean(dim=0)).square().sum())


@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_writes_one_site_from_another_in_the_models_own_units(
    store: Store, tmp_path: Path, skip: bool
) -> None:
    sites = "1.mlp_in", "1.mlp.post"
    result = trained(transcoder(store, *sites, skip=skip), store, tmp_path, *sites)
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
    sites = "0.resid_post", "1.mlp_out"
    result = trained(crosscoder(store, *sites), store, tmp_path, *sites)
    saved = load_dictionary(tmp_path)
    assert isinstance(saved, SparseCoder)
    assert saved.title == "Crosscoder"
    rows = held_out(store, "0.resid_post", "1.mlp_out")
    assert result.held_out_fvu == pytest.approx(fvu(rows, saved(rows)), rel=1e-3)
    by_hand = [fvu(x, y) for x, y in zip(rows.chunk(2, dim=1), saved(rows).chunk(2, dim=1), strict=True)]
    torch.testing.assert_close(saved.fvu_of_sites(rows), torch.tensor(by_hand), rtol=1e-3, atol=1e-4)
    assert max(by_hand) < 0.9


def test_figures_of_a_transcoder_are_of_what_it_writes(store: Store, tmp_path: Path) -> None:
    sites = "1.mlp_in", "1.mlp_out"
    trained(transcoder(store, *sites), store, tmp_path, *sites)
    saved, rows = load_dictionary(tmp_path), held_out(store, "1.mlp_in", "1.mlp_out")
    whole, blocks = held_out_metrics(saved, rows), held_out_metrics(saved, rows, block=7)
    assert whole.fvu == pytest.approx(blocks.fvu, rel=1e-5)
    assert whole.l0 == blocks.l0 <= K


def test_sites_that_are_not_as_wide_as_the_dictionary_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(VectorError, match="Make the dictionary for width"):
        trained(crosscoder(store, "1.mlp_out", "1.mlp_out"), store, tmp_path, "0.resid_post", "1.mlp.post")
