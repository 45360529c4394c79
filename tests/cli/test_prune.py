"""Pruning from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from printed import parsed

Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--remove", "1.5"), "--remove 1.5"),
        (("--out", "smaller"), "--remove"),
        (("--by", "magnitud"), "magnitude"),
        (("--unit", "heads", "--remove", "0.01", "--by", "magnitude", "--tokens", "300"), "some go"),
    ],
)
def test_what_cannot_be_pruned_is_said(words: tuple[str, ...], says: str, command: Command) -> None:
    code, _, err = command("prune", "specimen", *words)
    assert (code, says in err) == (2, True), err


def test_a_smaller_model_is_saved_and_opens(tmp_path: Path, command: Command) -> None:
    words = ("prune", "specimen", "--unit", "layers", "--remove", "0.5", "--by", "magnitude", "--tokens", "300")
    found = parsed(command(*words, "--out", tmp_path / "small", "--json"))
    assert found["smaller"]["parameters"] < found["whole"]["parameters"]
    assert found["smaller"]["added"]["value"] > 0
    assert parsed(command("inspect", tmp_path / "small", "--json"))["layers"] == 3
