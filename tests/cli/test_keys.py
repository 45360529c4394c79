"""The most wanted keys: help says what holds without them, and flags and words are one."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable

import pytest

from monosema.cli import keys
from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, flatten
from monosema.runs.overrides import fields_of, resolve_key

Command = Callable[..., tuple[int, str, str]]
WANTED = next(node for node in ast.parse(inspect.getsource(keys)).body if isinstance(node, ast.ClassDef))
HELP = {
    field.target.id: said.value.value
    for field, said in zip(WANTED.body[1:], WANTED.body[2:], strict=False)
    if isinstance(field, ast.AnnAssign) and isinstance(said, ast.Expr)
}


@pytest.mark.parametrize("name", [name for name in HELP if name not in ("alpha", "lr")])
def test_help_says_what_holds_without_a_key(name: str) -> None:
    recipe = demo()
    values = {**flatten(recipe.to_dict()), "architecture": recipe.dictionary.architecture}
    key = name if name == "architecture" else resolve_key(name, fields_of(recipe), SHORT_KEYS)
    assert re.search(r"\[([^\]]+)\]\.$", HELP[name])[1] == str(values[key])


def test_a_flag_and_a_word_are_one(command: Command) -> None:
    code, out, _ = command(
        "run", "--k", "7", "--dictionary.n_latents", "64", "--evaluation-tokens=50", "--keys", "--json"
    )
    recipe = json.loads(out)
    assert code == 0
    assert (recipe["dictionary"]["k"], recipe["dictionary"]["n_latents"], recipe["evaluation_tokens"]) == (7, 64, 50)


def test_keys_are_listed_by_their_shortest_flag(command: Command) -> None:
    _, out, _ = command("run", "--keys")
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("--")]
    assert {"--k", "--latents", "--stream.memory-mb"} <= set(listed)
    assert not [flag for flag in listed if "_" in flag]
