"""What libraries published is read with their values, or refused for the reason that the manual's table gives."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from monosema.core import FormatError, Site
from monosema.dictionaries import Transcoder, load_dictionary

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
    assert isinstance(dictionary, Transcoder)
    assert dictionary.metadata.model == "Qwen/Qwen3-0.6B"
    assert dictionary.metadata.extra["hook_name_out"] == "blocks.3.hook_mlp_out"
    case = next(case for case in published.ALL if case.name == "Gemma Scope 2: affine transcoder")
    dictionary = load_dictionary(case.write(tmp_path / "second"))
    assert dictionary.metadata.site == Site.parse("3.mlp_in")
    assert dictionary.metadata.extra["hook_name_out"] == "blocks.3.hook_mlp_out"
