"""Files that are not what they should be: always an error of ours that names them, never a hang, never code run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from monosema.core import DamagedFileError, FormatError, MonosemaError
from monosema.dictionaries import SparseCoder, load_dictionary, make_coder, save_dictionary

D, M = 4, 10


def behind(normalisation: str, coder: SparseCoder) -> SparseCoder:
    coder.normalisation = normalisation
    return coder


def topk() -> SparseCoder:
    return make_coder("topk", d_in=D, n_latents=M, k=2)


def matryoshka() -> SparseCoder:
    return make_coder("matryoshka", d_in=D, n_latents=M, k=2, prefixes=(0.5, 1.0))


def jumprelu() -> SparseCoder:
    return make_coder("jumprelu", d_in=D, n_latents=M)


MAKERS: dict[str, Callable[[], Any]] = {
    "monosema": jumprelu,
    "saelens": topk,
    "sparsify": topk,
    "dictionary_learning": matryoshka,
    "openai": lambda: behind("layer_norm", topk()),
    "gemma_scope": jumprelu,
    "openmoss": jumprelu,
}
formats = pytest.mark.parametrize("format", MAKERS)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The files of a good dictionary in each format."""
    saved = {}
    for format, make in MAKERS.items():
        folder = save_dictionary(make(), tmp_path_factory.mktemp(format), format)
        saved[format] = {file.name: file.read_bytes() for file in folder.iterdir()}
    return saved


@pytest.fixture
def place(tmp_path: Path, originals: dict[str, dict[str, bytes]]) -> Callable[[str], Path]:
    """Puts a good dictionary of a format into one folder, again and again."""

    def put(format: str) -> Path:
        shutil.rmtree(tmp_path / "d", ignore_errors=True)
        (tmp_path / "d").mkdir()
        for name, content in originals[format].items():
            (tmp_path / "d" / name).write_bytes(content)
        return tmp_path / "d"

    return put


def refused_or_read(folder: Path) -> MonosemaError | None:
    """The error; None where the change left a dictionary that works."""
    try:
        dictionary = load_dictionary(folder)
    except MonosemaError as error:
        return error
    assert dictionary(torch.randn(3, dictionary.d_in)).shape == (3, dictionary.d_out)
    return None


@formats
def test_damaged_bytes(format: str, originals: dict[str, dict[str, bytes]], tmp_path_factory: Any) -> None:
    """Cut short, flipped, overwritten, at random places of random files."""
    folder = tmp_path_factory.mktemp("damaged")
    files = originals[format]

    @given(st.data())
    def damage(data: st.DataObject) -> None:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        name = data.draw(st.sampled_from(sorted(files)))
        content = files[name]
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["cut", "flip", "insert", "rubbish"]))
        rubbish = data.draw(st.binary(min_size=1, max_size=20))
        changed = {
            "cut": content[:at],
            "flip": content[:at] + bytes([content[at] ^ (1 << (rubbish[0] % 8))]) + content[at + 1 :],
            "insert": content[:at] + rubbish + content[at:],
            "rubbish": rubbish,
        }[kind]
        (folder / name).write_bytes(changed)
        refused_or_read(folder)

    damage()


WRONG: list[Any] = [None, "nonsense", -1, float("nan"), 2**70, []]
WRONG_INSIDE: list[Any] = ["nonsense", 1e300, [[1]]]


@pytest.mark.parametrize("format", ["monosema", "saelens", "sparsify", "dictionary_learning", "openmoss"])
def test_wrong_values_in_the_configuration(format: str, place: Callable[[str], Path]) -> None:
    folder = place(format)
    errors: list[MonosemaError | None] = []
    for file in folder.glob("*.json"):
        config = json.loads(file.read_text())
        for key in config:
            for value in (*WRONG, ...):
                changed = {**config, key: value} if value is not ... else {k: v for k, v in config.items() if k != key}
                file.write_text(json.dumps(changed))
                errors.append(refused_or_read(folder))
        for value in WRONG:
            file.write_text(json.dumps(value))
            errors.append(refused_or_read(folder))
        for inner in ("trainer", "monosema", "metadata"):
            for key in config.get(inner, {}):
                for value in WRONG_INSIDE:
                    file.write_text(json.dumps({**config, inner: {**config[inner], key: value}}))
                    refused_or_read(folder)
        file.write_text(json.dumps(config))
    refused = [str(error) for error in errors if error is not None]
    assert all(len(message) < 1500 for message in refused)
    assert len(refused) >= len(WRONG)
    assert refused_or_read(folder) is None


DEEP = 200_000


@pytest.mark.parametrize("text", ["[" * DEEP, '{"a":' * DEEP, "[" * 900 + "]" * 900, "9" * 10_000, '"\ud800"', "﻿{}"])
@pytest.mark.parametrize("format", ["saelens", "dictionary_learning", "openmoss"])
def test_nesting_and_numbers_without_end(text: str, format: str, place: Callable[[str], Path]) -> None:
    folder = place(format)
    for file in folder.glob("*.json"):
        original = json.loads(file.read_text())
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        assert refused_or_read(folder) is not None
        if text.startswith("[" * 900 + "]"):
            for key in original:
                file.write_text(json.dumps({**original, key: "X"}).replace('"X"', text))
                refused_or_read(folder)


def tensors_of(folder: Path) -> tuple[dict[str, Any], Callable[[dict[str, Any]], None]]:
    """The tensors of a dictionary, and a function that writes others in their place."""
    file = next(file for file in folder.iterdir() if file.suffix in (".safetensors", ".pt", ".npz"))
    if file.suffix == ".safetensors":
        return load_file(file), lambda state: save_file(state, file)
    if file.suffix == ".pt":
        return torch.load(file, weights_only=True), lambda state: torch.save(state, file)
    with np.load(file) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return state, lambda changed: np.savez(file, **{name: tensor.numpy() for name, tensor in changed.items()})


@formats
def test_wrong_tensors(format: str, place: Callable[[str], Path]) -> None:
    folder = place(format)
    state, write = tensors_of(folder)
    used = {name for name, value in state.items() if isinstance(value, torch.Tensor) and value.is_floating_point()}
    used -= {"latents_activation_frequency", "latents_mean_square"}
    for name in used:
        tensor = state[name]
        write({key: value for key, value in state.items() if key != name})
        assert isinstance(refused_or_read(folder), FormatError), f"{name} left out"
        for changed in (tensor.unsqueeze(0), tensor.new_zeros(0), tensor.new_zeros(*tensor.shape, 0), tensor.bool()):
            write({**state, name: changed.contiguous()})
            assert isinstance(refused_or_read(folder), FormatError), f"{name} of shape {list(changed.shape)}"
        for value in (float("nan"), float("inf")):
            spoilt = tensor.clone()
            spoilt.view(-1)[-1] = value
            write({**state, name: spoilt})
            error = refused_or_read(folder)
            assert isinstance(error, DamagedFileError), f"{name} with {value}"
            assert name in str(error)
        if tensor.dim() == 2:
            write({**state, name: tensor.T.contiguous()})
            assert isinstance(refused_or_read(folder), MonosemaError), f"{name} transposed"
        write({**state, name: tensor.half()})
        assert refused_or_read(folder) is None, f"{name} in half precision"


@pytest.mark.parametrize("format", ["dictionary_learning", "openai"])
def test_things_in_a_state_dict_that_are_no_tensors(format: str, place: Callable[[str], Path]) -> None:
    folder = place(format)
    state, write = tensors_of(folder)
    encoder = next(name for name in state if name in ("encoder.weight", "W_enc"))
    nested: Any = []
    for _ in range(200):
        nested = [nested]
    endless = torch.zeros(1).expand(10**6, 10**6)
    strange = [
        "text",
        None,
        3,
        {"a": 1},
        nested,
        endless,
        torch.zeros(M, D).to_sparse(),
        torch.empty(M, D, device="meta"),
    ]
    for value in strange:
        write({**state, encoder: value})
        assert isinstance(refused_or_read(folder), FormatError)
    for whole in ([1, 2], "text", {1: torch.zeros(2)}, None, torch.zeros(3)):
        write(whole)  # type: ignore[arg-type]
        assert isinstance(refused_or_read(folder), MonosemaError)


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_the_attack_works_where_pickles_are_trusted(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Attack(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("format", ["dictionary_learning", "openai"])
def test_code_in_a_pt_file_does_not_run(
    format: str, legacy: bool, place: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = place(format)
    state, _ = tensors_of(folder)
    file = next(folder.glob("*.pt"))
    marker = tmp_path / "ran"
    for content in ({**state, "k": Attack(marker)}, Attack(marker)):
        torch.save(content, file, _use_new_zipfile_serialization=not legacy)
        for path in (folder, file):
            with pytest.raises(FormatError, match="code from a file is never run"):
                load_dictionary(path)
    file.write_bytes(pickle.dumps({**state, "k": Attack(marker)}))
    assert isinstance(refused_or_read(folder), MonosemaError)
    assert not marker.exists()


def test_code_in_an_array_does_not_run(place: Callable[[str], Path], tmp_path: Path) -> None:
    folder = place("gemma_scope")
    state, _ = tensors_of(folder)
    marker = tmp_path / "ran"
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    np.savez(folder / "params.npz", **{**arrays, "b_dec": np.array([Attack(marker)] * D, dtype=object)})
    assert isinstance(refused_or_read(folder), MonosemaError)
    (folder / "params.npz").write_bytes(pickle.dumps(Attack(marker)))
    assert isinstance(refused_or_read(folder), MonosemaError)
    assert not marker.exists()


def test_an_array_that_claims_more_than_it_holds(place: Callable[[str], Path]) -> None:
    folder = place("gemma_scope")
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 100000), }"
    text = header.ljust(118) + "\n"
    with zipfile.ZipFile(folder / "params.npz", "w") as archive:
        archive.writestr("W_enc.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + b"1234")
    assert isinstance(refused_or_read(folder), DamagedFileError)
