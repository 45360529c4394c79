"""A task of one's own is read from lines of JSON, and a line of another form is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from monosema.core import InputError
from monosema.data.tasks import read_task


def test_lines_become_prompts_and_one_answer_is_a_list_of_one(tmp_path: Path) -> None:
    path = tmp_path / "capitals.jsonl"
    path.write_text(
        '{"clean": "{Paris} is in", "corrupt": "{Rome} is in", "correct": " France", "wrong": [" Italy", " Spain"]}\n'
        '\n{"clean": "a", "corrupt": "b", "correct": ["x"], "wrong": "y", "form": "short"}\n'
    )
    task = read_task(path)
    assert (task.name, [prompt.form for prompt in task]) == ("capitals", ["", "short"])
    assert task.prompts[0].correct == (" France",)
    assert task.prompts[0].wrong == (" Italy", " Spain")
    assert task.prompts[0].clean[task.prompts[0].span("END").start :] == "in"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "Line 2"),
        ('{"clean": "a", "corrupt": "b", "correct": "x"}', "'wrong'"),
        ('{"clean": "a", "corrupt": "b", "correct": "x", "wrong": "y", "from": "z"}', "from"),
        ('{"clean": "a ", "corrupt": "b", "correct": "x", "wrong": "y"}', "end in a space"),
        ('{"clean": 1, "corrupt": "b", "correct": "x", "wrong": "y"}', "clean"),
    ],
)
def test_a_line_of_another_form_is_named(line: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(InputError, match=says):
        read_task(path)
    with pytest.raises(InputError, match="can't be read"):
        read_task(tmp_path / "none.jsonl")
    path.write_text("")
    with pytest.raises(InputError, match="no prompts"):
        read_task(path)
