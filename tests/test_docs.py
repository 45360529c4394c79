"""The docs site's own code, and the tutorial: what its cells promise."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SITE = Path(__file__).parents[1] / "docs/site"


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", SITE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_links_between_documents_lead_to_pages_of_the_site(tmp_path: Path) -> None:
    _module("hooks").gather(tmp_path)
    assert "(benchmarks.md)" in (tmp_path / "index.md").read_text()
    assert "](docs/" not in (tmp_path / "index.md").read_text()
    assert "](../benchmarks" not in (tmp_path / "benchmarks.md").read_text()
    assert (tmp_path / "results/frontier/minilm-fvu.svg").is_file()
    assert "::: monosema.atlas" in (tmp_path / "api/monosema.atlas.md").read_text()


def test_a_command_of_a_page_is_followed_by_what_it_prints(tmp_path: Path) -> None:
    again = _module("record").again
    assert again("$ echo one \\\n  two\nold\n$ false\n", str(tmp_path)) == "$ echo one \\\n  two\none two\n\n$ false\n"


@pytest.mark.interop
@pytest.mark.slow
def test_the_tutorial_runs_and_its_cells_give_what_they_show(tmp_path: Path) -> None:
    execute = _module("execute")
    kept = json.loads(execute.NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for before, now in zip(kept, execute.execute(str(tmp_path)).cells, strict=True):
        kinds = [one["output_type"] for one in before.get("outputs", [])]
        assert [one.output_type for one in now.get("outputs", [])] == kinds, "".join(before["source"])
