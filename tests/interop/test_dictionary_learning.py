"""dictionary_learning itself reads what monosema writes, and the other way round, with equal codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from monosema.core import Site
from monosema.dictionaries import (
    L1,
    BatchTopK,
    BatchTopKConfig,
    Dictionary,
    Gated,
    GatedConfig,
    JumpReLU,
    JumpReLUConfig,
    L1Config,
    MatryoshkaBatchTopK,
    MatryoshkaConfig,
    TiedL1,
    TiedL1Config,
    TopK,
    TopKConfig,
    load_dictionary,
)

pytestmark = pytest.mark.interop
SIZES = {"d_in": 16, "n_latents": 64}


def free_norms() -> L1:
    dictionary = L1(L1Config(**SIZES))
    with torch.no_grad():
        dictionary.W_dec.mul_(2.0)
    return dictionary


OURS = {
    "l1": (lambda: L1(L1Config(**SIZES)), "AutoEncoder"),
    "l1, free norms": (free_norms, "AutoEncoderNew"),
    "tied": (lambda: TiedL1(TiedL1Config(**SIZES)), "AutoEncoder"),
    "gated": (lambda: Gated(GatedConfig(**SIZES)), "GatedAutoEncoder"),
    "jumprelu": (lambda: JumpReLU(JumpReLUConfig(**SIZES)), "JumpReluAutoEncoder"),
    "topk": (lambda: TopK(TopKConfig(k=5, **SIZES)), "AutoEncoderTopK"),
    "batch topk": (lambda: BatchTopK(BatchTopKConfig(k=5, **SIZES)), "BatchTopKSAE"),
    "matryoshka": (
        lambda: MatryoshkaBatchTopK(MatryoshkaConfig(k=5, prefixes=(0.25, 0.5, 1.0), **SIZES)),
        "MatryoshkaBatchTopKSAE",
    ),
}
THEIRS = {
    "AutoEncoder": L1,
    "AutoEncoderNew": L1,
    "GatedAutoEncoder": Gated,
    "JumpReluAutoEncoder": JumpReLU,
    "AutoEncoderTopK": TopK,
    "BatchTopKSAE": BatchTopK,
    "MatryoshkaBatchTopKSAE": MatryoshkaBatchTopK,
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
    assert type(dictionary) is THEIRS[name]
    agree(shared, f"theirs/{name}", dictionary)
    assert dictionary.metadata.site == Site.parse("3.resid_post")
    assert dictionary.metadata.model == "gpt2"
    if isinstance(dictionary, MatryoshkaBatchTopK):
        assert dictionary.prefix_sizes == (16, 32, 64)
