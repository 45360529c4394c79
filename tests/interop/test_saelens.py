"""SAELens itself reads what monosema writes, and the other way round, with equal codes and reconstructions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from monosema.core import Site
from monosema.dictionaries import Dictionary, Metadata, SparseCoder, load_dictionary, make_coder, title_of

pytestmark = pytest.mark.interop
SIZES = {"d_in": 16, "n_latents": 64}
WHERE = Metadata("specimen", Site.parse("3.resid_post"))


def behind(normalisation: str, coder: SparseCoder) -> SparseCoder:
    coder.normalisation = normalisation
    return coder


def transcoder(**settings: object) -> Callable[[], SparseCoder]:
    return lambda: make_coder("transcoder", d_out=12, **SIZES, **settings, metadata=WHERE)


OURS = {
    "topk": (lambda: make_coder("topk", k=5, **SIZES, metadata=WHERE), "TopKSAE"),
    "l1": (lambda: make_coder("l1", **SIZES, metadata=WHERE), "StandardSAE"),
    "p-anneal": (lambda: make_coder("p_anneal", **SIZES, metadata=WHERE), "StandardSAE"),
    "tied": (lambda: make_coder("tied_l1", **SIZES, metadata=WHERE), "StandardSAE"),
    "gated": (lambda: make_coder("gated", **SIZES, metadata=WHERE), "GatedSAE"),
    "jumprelu": (lambda: make_coder("jumprelu", **SIZES, metadata=WHERE), "JumpReLUSAE"),
    "jumprelu, not centred": (
        lambda: make_coder("jumprelu", centre_input=False, **SIZES, metadata=WHERE),
        "JumpReLUSAE",
    ),
    "batch topk": (lambda: make_coder("batch_topk", k=5, **SIZES, metadata=WHERE), "JumpReLUSAE"),
    "matryoshka": (
        lambda: make_coder("matryoshka", k=5, prefixes=(0.25, 1.0), **SIZES, metadata=WHERE),
        "JumpReLUSAE",
    ),
    "transcoder": (transcoder(activation="relu"), "Transcoder"),
    "skip transcoder": (transcoder(activation="relu", skip=True), "SkipTranscoder"),
    "jumprelu transcoder": (transcoder(activation="jumprelu"), "JumpReLUTranscoder"),
    "jumprelu skip transcoder": (transcoder(activation="jumprelu", skip=True), "JumpReLUSkipTranscoder"),
    "batch topk transcoder": (transcoder(activation="batch_topk"), "JumpReLUTranscoder"),
}
THEIRS = {
    "standard": "L1",
    "standard, not centred": "L1",
    "standard, layer norm": "L1",
    "gated": "Gated",
    "gated, not centred": "Gated",
    "jumprelu": "JumpReLU",
    "jumprelu, not centred": "JumpReLU",
    "jumprelu, rescaled": "JumpReLU",
    "topk": "TopK",
    "topk, by norm": "TopK",
    "topk, layer norm": "TopK",
    "batch topk": "JumpReLU",
    "matryoshka": "JumpReLU",
    "transcoder": "Transcoder",
    "skip transcoder": "Transcoder",
    "jumprelu transcoder": "Transcoder",
    "jumprelu skip transcoder": "Transcoder",
}
CHECKPOINTS = {
    "standard": "L1",
    "gated": "Gated",
    "jumprelu": "JumpReLU",
    "topk": "TopK",
    "topk, without norms": "TopK",
    "batch topk": "JumpReLU",
    "matryoshka": "JumpReLU",
}


@pytest.fixture(scope="module")
def ours(random_parts: Callable[..., Dictionary]) -> dict[str, Dictionary]:
    made = {name: random_parts(make()) for name, (make, _) in OURS.items()}
    made["layer norm"] = behind("layer_norm", made["topk"])
    made["rescaled"] = behind("rescale", made["jumprelu"])
    return made


@pytest.fixture(scope="module")
def shared(peer: Callable[..., Path], ours: dict[str, Dictionary], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peer("saelens", tmp_path_factory.mktemp("saelens"), "saelens", ours)


@pytest.mark.parametrize("name", [*OURS, "layer norm", "rescaled"])
def test_saelens_reads_ours(name: str, shared: Path, ours: dict[str, Dictionary], agree: Callable[..., None]) -> None:
    agree(shared, f"ours/{name}", ours[name])
    if name in OURS:
        facts = (shared / "ours" / name / "class").read_text()
        assert facts == f"{OURS[name][1]} blocks.3.hook_resid_post specimen"


@pytest.mark.parametrize("name", THEIRS)
def test_we_read_saelens(name: str, shared: Path, agree: Callable[..., None]) -> None:
    dictionary = load_dictionary(shared / "theirs" / name)
    assert title_of(dictionary) == THEIRS[name]
    agree(shared, f"theirs/{name}", dictionary)


@pytest.mark.parametrize("normalisation", ["none", "expected_average_only_in", "covariance_whitening"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_we_read_checkpoints_of_training(
    name: str, normalisation: str, shared: Path, agree: Callable[..., None]
) -> None:
    """With the scale folded in, as SAELens folds it at the end of training."""
    folder = f"theirs/checkpoint, {name}, {normalisation}"
    dictionary = load_dictionary(shared / folder)
    assert title_of(dictionary) == CHECKPOINTS[name]
    agree(shared, folder, dictionary)
