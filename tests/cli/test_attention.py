"""Attention from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]


def test_figures_a_head_and_its_page(command: Command, tmp_path: Path) -> None:
    code, out, _ = command("attention", "the cat sat", "--json")
    assert (code, len(json.loads(out)["entropy"])) == (0, 6)
    code, out, _ = command("attention", "the cat sat", "--head", "a1.h2", "--weighted", "--out", tmp_path)
    assert (code, "looks at" in out) == (0, True)
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "copying" in command("attention", "the cat", "--head", "a0.h3", "--circuits", "--top", "2")[1]
    assert "not turned" in command("attention", "the cat", "--positions")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--head", "a9.h9"), "a0.h0 to a5.h7"),
        (("--head", "x"), "--head x"),
        (("--circuits",), "--head"),
        (("--head", "a0.h0", "--out", "/dev/null/x"), "/dev/null"),
        (("--head", "a0.h0", "--out", "/proc/x"), "Choose another path"),
        (("--top", "0"), "--top 0"),
        (("--head", "a0.h0", "--circuits", "--distance", "9999"), "9999"),
    ],
)
def test_what_is_wrong_is_said(command: Command, words: tuple[str, ...], said: str) -> None:
    code, _, err = command("attention", "the cat sat", *words)
    assert (code, said in err) == (2, True)
