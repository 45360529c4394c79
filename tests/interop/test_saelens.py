"""SAELens itself reads what monosema writes, and the other way round, with equal codes and reconstructions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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
    Metadata,
    NormalisedInput,
    PAnneal,
    PAnnealConfig,
    TiedL1,
    TiedL1Config,
    TopK,
    TopKConfig,
    Transcoder,
    TranscoderConfig,
    load_dictionary,
)

pytestmark = pytest.mark.interop
SIZES = {"d_in": 16, "n_latents": 64}
WHERE = Metadata("specimen", Site.parse("3.resid_post"))


def transcoder(**settings: object) -> Callable[[], Transcoder]:
    return lambda: Transcoder(TranscoderConfig(d_out=12, k=5, **SIZES, **settings), WHERE)


OURS = {
    "topk": (lambda: TopK(TopKConfig(k=5, **SIZES), WHERE), "TopKSAE"),
    "l1": (lambda: L1(L1Config(**SIZES), WHERE), "StandardSAE"),
    "p-anneal": (lambda: PAnneal(PAnnealConfig(**SIZES), WHERE), "StandardSAE"),
    "tied": (lambda: TiedL1(TiedL1Config(**SIZES), WHERE), "StandardSAE"),
    "gated": (lambda: Gated(GatedConfig(**SIZES), WHERE), "GatedSAE"),
    "jumprelu": (lambda: JumpReLU(JumpReLUConfig(**SIZES), WHERE), "JumpReLUSAE"),
    "jumprelu, not centred": (lambda: JumpReLU(JumpReLUConfig(centre_input=False, **SIZES), WHERE), "JumpReLUSAE"),
    "batch topk": (lambda: BatchTopK(BatchTopKConfig(k=5, **SIZES), WHERE), "JumpReLUSAE"),
    "matryoshka": (
        lambda: MatryoshkaBatchTopK(MatryoshkaConfig(k=5, prefixes=(0.25, 1.0), **SIZES), WHERE),
        "JumpReLUSAE",
    ),
    "transcoder": (transcoder(activation="relu"), "Transcoder"),
    "skip transcoder": (transcoder(activation="relu", skip=True), "SkipTranscoder"),
    "jumprelu transcoder": (transcoder(activation="jumprelu"), "JumpReLUTranscoder"),
    "jumprelu skip transcoder": (transcoder(activation="jumprelu", skip=True), "JumpReLUSkipTranscoder"),
    "batch topk transcoder": (transcoder(activation="batch_topk"), "JumpReLUTranscoder"),
}
THEIRS = {
    "standard": L1,
    "standard, not centred": L1,
    "standard, layer norm": NormalisedInput,
    "gated": Gated,
    "gated, not centred": Gated,
    "jumprelu": JumpReLU,
    "jumprelu, not centred": JumpReLU,
    "jumprelu, rescaled": NormalisedInput,
    "topk": TopK,
    "topk, by norm": TopK,
    "topk, layer norm": NormalisedInput,
    "batch topk": JumpReLU,
    "matryoshka": JumpReLU,
    "transcoder": Transcoder,
    "skip transcoder": Transcoder,
    "jumprelu transcoder": Transcoder,
    "jumprelu skip transcoder": Transcoder,
}
CHECKPOINTS = {
    "standard": L1,
    "gated": Gated,
    "jumprelu": JumpReLU,
    "topk": TopK,
    "topk, without norms": TopK,
    "batch topk": JumpReLU,
    "matryoshka": JumpReLU,
}


@pytest.fixture(scope="module")
def ours(random_parts: Callable[..., Dictionary]) -> dict[str, Dictionary]:
    made = {name: random_parts(make()) for name, (make, _) in OURS.items()}
    made["layer norm"] = NormalisedInput(made["topk"], "layer_norm")
    made["rescaled"] = NormalisedInput(made["jumprelu"], "rescale")
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
    assert type(dictionary) is THEIRS[name]
    agree(shared, f"theirs/{name}", dictionary)


@pytest.mark.parametrize("normalisation", ["none", "expected_average_only_in", "covariance_whitening"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_we_read_checkpoints_of_training(
    name: str, normalisation: str, shared: Path, agree: Callable[..., None]
) -> None:
    """With the scale folded in, as SAELens folds it at the end of training."""
    folder = f"theirs/checkpoint, {name}, {normalisation}"
    dictionary = load_dictionary(shared / folder)
    assert type(dictionary) is CHECKPOINTS[name]
    agree(shared, folder, dictionary)
