"""sparsify itself reads what monosema writes, and the other way round, with equal codes and reconstructions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from monosema.dictionaries import Dictionary, load_dictionary, make_coder, title_of

pytestmark = pytest.mark.interop
SIZES = {"d_in": 16, "n_latents": 64}
OURS: dict[str, Callable[[], Dictionary]] = {"topk": lambda: make_coder("topk", k=5, **SIZES)}
THEIRS = {
    "topk": "TopK",
    "by expansion": "TopK",
    "topk, skip": "Transcoder",
    "transcoder": "Transcoder",
    "skip transcoder": "Transcoder",
}


@pytest.fixture(scope="module")
def ours(random_parts: Callable[..., Dictionary]) -> dict[str, Dictionary]:
    return {name: random_parts(make()) for name, make in OURS.items()}


@pytest.fixture(scope="module")
def shared(peer: Callable[..., Path], ours: dict[str, Dictionary], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peer("sparsify", tmp_path_factory.mktemp("sparsify"), "sparsify", ours)


@pytest.mark.parametrize("name", OURS)
def test_sparsify_reads_ours(name: str, shared: Path, ours: dict[str, Dictionary], agree: Callable[..., None]) -> None:
    agree(shared, f"ours/{name}", ours[name])


@pytest.mark.parametrize("name", THEIRS)
def test_we_read_sparsify(name: str, shared: Path, agree: Callable[..., None]) -> None:
    dictionary = load_dictionary(shared / "theirs" / name)
    assert title_of(dictionary) == THEIRS[name]
    agree(shared, f"theirs/{name}", dictionary)
