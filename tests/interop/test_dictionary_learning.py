"""dictionary_learning itself reads what monosema writes, and the other way round, with equal codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from monosema.core import Site
from monosema.dictionaries import Dictionary, SparseCoder, load_dictionary, make_coder, title_of

pytestmark = pytest.mark.interop
SIZES = {"d_in": 16, "n_latents": 64}


def free_norms() -> SparseCoder:
    dictionary = make_coder("l1", **SIZES)
    with torch.no_grad():
        dictionary.W_dec.mul_(2.0)
    return dictionary


OURS = {
    "l1": (lambda: make_coder("l1", **SIZES), "AutoEncoder"),
    "l1, free norms": (free_norms, "AutoEncoderNew"),
    "tied": (lambda: make_coder("tied_l1", **SIZES), "AutoEncoder"),
    "gated": (lambda: make_coder("gated", **SIZES), "GatedAutoEncoder"),
    "jumprelu": (lambda: make_coder("jumprelu", **SIZES), "JumpReluAutoEncoder"),
    "topk": (lambda: make_coder("topk", k=5, **SIZES), "AutoEncoderTopK"),
    "batch topk": (lambda: make_coder("batch_topk", k=5, **SIZES), "BatchTopKSAE"),
    "matryoshka": (
        lambda: make_coder("matryoshka", k=5, prefixes=(0.25, 0.5, 1.0), **SIZES),
        "MatryoshkaBatchTopKSAE",
    ),
}
THEIRS = {
    "AutoEncoder": "L1",
    "AutoEncoderNew": "L1",
    "GatedAutoEncoder": "Gated",
    "JumpReluAutoEncoder": "JumpReLU",
    "AutoEncoderTopK": "TopK",
    "BatchTopKSAE": "BatchTopK",
    "MatryoshkaBatchTopKSAE": "Matryoshka",
}


@pytest.fixture(scope="module")
def ours(random_parts: Callable[..., Dictionary]) -> dict[str, Dictionary]:
    return {name: random_parts(make()) for name, (make, _) in OURS.items()}


@pytest.fixture(scope="module")
def shared(peer: Callable[..., Path], ours: dict[str, Dictionary], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peer("dictionary_learning", tmp_path_factory.mktemp("learning"), "dictionary_learning", ours)


@pytest.mark.parametrize("name", OURS)
def test_they_read_ours(name: str, shared: Path, ours: dict[str, Dictionary], agree: Callable[..., None]) -> None:
    agree(shared, f"ours/{name}", ours[name])
    assert (shared / "ours" / name / "class").read_text() == OURS[name][1]


@pytest.mark.parametrize("name", THEIRS)
def test_we_read_theirs(name: str, shared: Path, agree: Callable[..., None]) -> None:
    dictionary = load_dictionary(shared / "theirs" / name)
    assert title_of(dictionary) == THEIRS[name]
    agree(shared, f"theirs/{name}", dictionary)
    assert dictionary.metadata.site == Site.parse("3.resid_post")
    assert dictionary.metadata.model == "gpt2"
    if name == "MatryoshkaBatchTopKSAE":
        assert dictionary.config.prefixes == (0.25, 0.5, 1.0)
