"""debug: the features behind a wrong answer are listed, written as a graph, and what can't be debugged is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from monosema.circuits import ShownGraph

Command = Callable[..., tuple[int, str, str]]


def test_a_text_s_wrong_answer_is_debugged_and_written(copied: Path, command: Command) -> None:
    words = ("debug", "Mary and John went home. John gave a drink to", "--right", "x", "--run", copied)
    code, text, err = command(*words, "--most", "6", "--json", "--debug")
    assert code == 0, err
    (case,) = json.loads(text)["cases"]
    assert case["right"] == "x"
    shown = ShownGraph.read(copied / "circuits" / "debug-mary-and-john-went-home-john-gave-a-drin")
    assert [node.predicted for node in shown.nodes[:-1]] == [-one["predicted"] for one in case["culprits"]]
    assert len(shown.edges) == len(case["culprits"]) == 6
    code, text, _ = command(*words, "--most", "6")
    assert "over 'x' by" in text
    assert "shown" not in text
    assert "12 of 14 shown; --json has all." in command(*words, "--most", "14")[1]


def test_what_is_no_task_or_no_mistake_is_an_error(copied: Path, command: Command) -> None:
    assert "--right" in command("debug", "Mary went", "--run", copied)[2]
    words = ("debug", "Mary went", "--run", copied, "--right")
    both = [command(*words, right, "--wrong", wrong) for right, wrong in (("x", "y"), ("y", "x"))]
    assert sorted(code for code, _, _ in both) == [0, 2]
    assert any("nothing to debug" in err for _, _, err in both)
    assert "1 or more" in command("debug", "gender", "--run", copied, "--most", "0")[2]
