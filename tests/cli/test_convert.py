"""convert, push, pull: what they print, and how they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from monosema.core import Site
from monosema.dictionaries import Metadata, load_dictionary, make_coder, save_dictionary

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    metadata = Metadata("specimen", Site.parse("3.resid_post"))
    save_dictionary(make_coder("topk", d_in=6, n_latents=20, k=3, metadata=metadata), tmp_path / "saved")
    return tmp_path / "saved"


def test_convert(command: Command, saved: Path, tmp_path: Path) -> None:
    code, out, _ = command("convert", saved, tmp_path / "there", "--to", "sparsify", "--json")
    assert code == 0
    assert json.loads(out) == {
        "kind": "TopK",
        "d_in": 6,
        "d_out": 6,
        "n_latents": 20,
        "model": "specimen",
        "site": "blocks.3.hook_resid_post",
        "format": "sparsify",
        "path": str(tmp_path / "there"),
    }
    assert command("convert", tmp_path / "there", tmp_path / "back")[0] == 0
    x = torch.randn(9, 6)
    assert torch.equal(load_dictionary(tmp_path / "back")(x), load_dictionary(saved)(x))


@pytest.mark.parametrize(
    ("to", "says"),
    [("gemma_scope", "can't hold TopK; nothing was written"), ("saelns", "Did you mean 'saelens'")],
)
def test_a_format_that_cannot_hold_it(to: str, says: str, command: Command, saved: Path, tmp_path: Path) -> None:
    code, out, err = command("convert", saved, tmp_path / "there", "--to", to)
    assert (code, out) == (2, "")
    assert says in err
    assert not (tmp_path / "there").exists()


def test_nothing_is_overwritten(command: Command, saved: Path) -> None:
    before = {file: file.read_bytes() for file in saved.iterdir()}
    code, _, err = command("convert", saved, saved, "--to", "openmoss")
    assert code == 2
    assert "There is something at" in err
    assert {file: file.read_bytes() for file in saved.iterdir()} == before


def test_hub(command: Command, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    code, _, err = command("push", saved, "me/one")
    assert code == 2
    assert "set HF_TOKEN" in err
    code, _, err = command("pull", "me/none")
    assert code == 2
    assert "the hub can't be reached" in err
