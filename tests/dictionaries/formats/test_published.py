"""What libraries published is read with their values, or refused for the reason that the manual's table gives."""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from monosema.core import FormatError, MonosemaError, Site
from monosema.dictionaries import SparseCoder, load_dictionary

sys.path.insert(0, str(Path(__file__).parent))
import published

READ = [case for case in published.ALL if case.forward is not None]
REFUSED = [case for case in published.ALL if case.forward is None]


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_values_are_the_library_s_own(case: published.Published, tmp_path: Path) -> None:
    assert case.forward is not None
    codes, out = case.forward(published.X)
    assert 0.02 < float((codes != 0).float().mean()) < 0.95, "codes that would prove little"
    dictionary = load_dictionary(case.write(tmp_path))
    torch.testing.assert_close(dictionary.encode(published.X).dense(), codes, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(dictionary(published.X), out, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_is_not_read_says_why(case: published.Published, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        load_dictionary(case.write(tmp_path))
    assert case.refused in str(caught.value)


def test_at_least_eight_libraries_and_each_case_has_one_outcome() -> None:
    assert len({case.library for case in published.ALL}) >= 8
    assert all((case.forward is None) == bool(case.refused) for case in published.ALL)
    assert len({case.name for case in published.ALL}) == len(published.ALL)


def test_the_manual_has_this_table() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()
    assert published.table() in manual, "print it with: python tests/dictionaries/formats/published.py"


def test_transcoders_say_where_they_read_and_write(tmp_path: Path) -> None:
    case = next(case for case in published.ALL if case.name == "circuit-tracer: TopK")
    dictionary = load_dictionary(case.write(tmp_path))
    assert isinstance(dictionary, SparseCoder)
    assert dictionary.title == "Transcoder"
    assert dictionary.metadata.model == "Qwen/Qwen3-0.6B"
    assert dictionary.metadata.extra["hook_name_out"] == "blocks.3.hook_mlp_out"
    case = next(case for case in published.ALL if case.name == "Gemma Scope 2: affine transcoder")
    dictionary = load_dictionary(case.write(tmp_path / "second"))
    assert dictionary.metadata.site == Site.parse("3.mlp_in")
    assert dictionary.metadata.extra["hook_name_out"] == "blocks.3.hook_mlp_out"


def test_a_model_is_not_read_in_full(tmp_path: Path) -> None:
    tensors = {f"model.layers.{number}.weight": torch.ones(2, 2) for number in range(101)}
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match="holds 101 tensors: a model's, and no dictionary's"):
        load_dictionary(tmp_path)


def spoilt(folder: Path) -> Iterator[str]:
    """Puts a fault into a folder, says which, and puts it right again, one after the other."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        wrong: dict[str, bytes] = {"cut": content[: len(content) // 2], "empty": b""}
        if file.suffix == ".json":
            config = json.loads(content)
            values = (None, "nonsense", -1, [])
            wrong |= {
                f"{key} = {value}": json.dumps({**config, key: value}).encode() for key in config for value in values
            }
        elif file.suffix in (".pt", ".pth"):
            state = torch.load(file, weights_only=True)
            others = {"text": "x", "scalar": torch.tensor(1.0), "of another shape": torch.ones(1, 3, 5)}
            for name, what in itertools.product(state, ("left out", *others)):
                changed = {key: one for key, one in state.items() if key != name}
                changed |= {name: others[what]} if what in others else {}
                sink = io.BytesIO()
                torch.save(changed, sink)
                wrong[f"{name} {what}"] = sink.getvalue()
        for what, spoiling in wrong.items():
            file.write_bytes(spoiling)
            yield f"{file.name}: {what}"
        file.write_bytes(content)


FRAGILE = [
    case for case in READ if case.library not in ("sparsify", "dictionary_learning", "OpenAI sparse_autoencoder")
]


@pytest.mark.parametrize("case", FRAGILE, ids=lambda case: case.name)
def test_whatever_is_wrong_with_a_file_is_an_error_of_ours(case: published.Published, tmp_path: Path) -> None:
    """Or the dictionary works all the same, where what was spoilt is not needed."""
    place = case.write(tmp_path)
    refused = []
    for _ in spoilt(tmp_path):
        try:
            assert load_dictionary(place)(published.X).shape[0] == len(published.X)
        except MonosemaError as error:
            refused.append(len(str(error)))
    assert len(refused) >= 2
    assert max(refused) < 1500
