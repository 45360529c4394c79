"""graph: a prompt is traced, the graph tested and written, and what can't be traced is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.families import family_model
from tests.helpers.transcoding import random_transcoders

from monosema.circuits import ShownGraph
from monosema.dictionaries import SparseCoder, save_dictionary

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = family_model("llama")

    def load(name: str, **_: Any) -> object:
        return model

    monkeypatch.setattr("monosema.models.load_model", load)
    for layer, coder in enumerate(random_transcoders(model).values()):
        assert isinstance(coder, SparseCoder)
        save_dictionary(coder, tmp_path / "coders" / f"layer-{layer}")
    return tmp_path / "coders"


def test_a_prompt_is_traced_tested_and_written(folder: Path, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "cat"
    words = ("graph", "a cat sat", "--transcoders", folder, "--latents", "40", "--out", out)
    code, text, err = command(*words, "--json", "--debug")
    assert code == 0, err
    found = json.loads(text)
    assert found["constrained"] > 0.99
    assert found["latents"] == 40 < found["active"]
    assert len(ShownGraph.read(out).nodes) == found["nodes"] + len(found["logits"])
    assert len(json.loads((out / "circuit-tracer.json").read_text())["links"]) == found["edges"]
    assert (out / "graph.dot").read_text().count("->") == found["edges"]
    code, text, _ = command(*words)
    assert "replacement score" in text
    assert "all free, logits beside one another" in text
    assert [len(row) for row in found["freed"]] == [3] * 5
    assert ShownGraph.read(out).notes[0].startswith("Replacement score 0.")
    assert "40 are in the graph" in text


def test_a_folder_without_transcoders_and_too_few_checks_are_errors(folder: Path, command: Command) -> None:
    assert "is no folder" in command("graph", "a cat", "--transcoders", folder / "none")[2]
    assert "2 or more" in command("graph", "a cat", "--transcoders", folder, "--checks", "1")[2]
    (folder / "layer-1").rename(folder.parent / "elsewhere")
    assert "no transcoder for layer 1" in command("graph", "a cat", "--transcoders", folder)[2]
