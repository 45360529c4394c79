"""SAELens' layout: what is written, what is read of others', and every way a folder can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosema.core import DamagedFileError, FormatError, MonosemaError, Site
from monosema.dictionaries import Metadata, Pca, load_dictionary, make_coder, save_dictionary


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    metadata = Metadata("specimen", Site.parse("3.resid_post"), 128, True, "builtin", 1000, {"neuronpedia_id": "x"})
    dictionary = make_coder("topk", d_in=4, n_latents=10, k=2, metadata=metadata, seed=1)
    with torch.no_grad():
        dictionary.b_enc.normal_()
        dictionary.b_dec.normal_()
    save_dictionary(dictionary, tmp_path / "d")
    return tmp_path / "d"


def change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "cfg.json").read_text()) | values
    (folder / "cfg.json").write_text(json.dumps(config))


def change_tensors(folder: Path, **tensors: Any) -> None:
    path = folder / "sae_weights.safetensors"
    merged = load_file(path) | tensors
    save_file({name: tensor for name, tensor in merged.items() if tensor is not None}, path)


def test_layout(saved: Path) -> None:
    config = json.loads((saved / "cfg.json").read_text())
    assert config["architecture"] == "topk"
    assert (config["d_in"], config["d_sae"], config["k"]) == (4, 10, 2)
    assert config["metadata"]["hook_name"] == "blocks.3.hook_resid_post"
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(saved / "sae_weights.safetensors").items()}
    assert shapes == {"W_enc": (4, 10), "b_enc": (10,), "W_dec": (10, 4), "b_dec": (4,)}


def test_metadata_survives(saved: Path) -> None:
    metadata = load_dictionary(saved).metadata
    assert metadata.model == "specimen"
    assert metadata.site == Site.parse("3.resid_post")
    assert metadata.extra["neuronpedia_id"] == "x"


def test_a_file_in_the_folder_will_do(saved: Path) -> None:
    assert load_dictionary(saved / "cfg.json").n_latents == 10


def test_folds_decoder_norms(saved: Path) -> None:
    plain = load_dictionary(saved)
    norms = torch.rand(10, 1) + 0.5
    tensors = load_file(saved / "sae_weights.safetensors")
    change_tensors(
        saved,
        W_dec=tensors["W_dec"] * norms,
        W_enc=tensors["W_enc"] / norms.T,
        b_enc=tensors["b_enc"] / norms.squeeze(1),
    )
    change(saved, rescale_acts_by_decoder_norm=True)
    x = torch.randn(20, 4)
    folded = load_dictionary(saved)
    torch.testing.assert_close(folded.encode(x).dense(), plain.encode(x).dense(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(folded(x), plain(x), rtol=1e-4, atol=1e-5)


def test_reads_encoders_that_do_not_centre(saved: Path) -> None:
    tensors = load_file(saved / "sae_weights.safetensors")
    change(saved, apply_b_dec_to_input=False)
    x = torch.randn(20, 4)
    pre = x @ tensors["W_enc"] + tensors["b_enc"]
    largest = pre.topk(2, dim=1)
    expected = torch.zeros_like(pre).scatter(1, largest.indices, largest.values.relu())
    torch.testing.assert_close(load_dictionary(saved).encode(x).dense(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"architecture": "topkk"}, FormatError, "'topkk'.*Did you mean 'topk'"),
        ({"architecture": None}, FormatError, "architecture"),
        ({"k": None}, FormatError, "k is missing"),
        ({"d_sae": -3}, FormatError, "d_sae = -3"),
        ({"d_in": 5}, FormatError, r"W_enc has shape \[4, 10\].*\[5, 10\]"),
        ({"normalize_activations": "expected_average_only_in"}, FormatError, "expected_average_only_in.*fold it"),
        ({"normalize_activations": "batch_norm"}, FormatError, "'batch_norm' is not supported"),
        ({"reshape_activations": "heads"}, FormatError, "'heads' is not known"),
        ({"k": 11}, MonosemaError, "11"),
    ],
)
def test_a_wrong_config_is_named(saved: Path, values: dict[str, Any], error: type[Exception], message: str) -> None:
    change(saved, **values)
    with pytest.raises(error, match=message):
        load_dictionary(saved)


def test_missing_tensor(saved: Path) -> None:
    change_tensors(saved, b_dec=None)
    with pytest.raises(FormatError, match=r"lacks b_dec; it holds W_dec, W_enc, b_enc"):
        load_dictionary(saved)


def test_not_finite(saved: Path) -> None:
    change_tensors(saved, b_enc=torch.full((10,), float("nan")))
    with pytest.raises(DamagedFileError, match=r"b_enc holds NaN or infinity, in 10 of its values"):
        load_dictionary(saved)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_truncated_weights(saved: Path, length: int) -> None:
    path = saved / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedFileError, match="sae_weights"):
        load_dictionary(saved)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_damaged_config(saved: Path, text: str) -> None:
    (saved / "cfg.json").write_text(text)
    with pytest.raises(MonosemaError, match=r"cfg\.json"):
        load_dictionary(saved)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such folder"):
        load_dictionary(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(FormatError, match=r"holds notes\.txt"):
        load_dictionary(tmp_path)


def test_what_the_layout_cannot_hold_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="Pca"):
        save_dictionary(Pca.fit([torch.randn(9, 3)], 2), tmp_path / "out")
    assert not (tmp_path / "out").exists()
