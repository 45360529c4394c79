"""Lenses from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

Command = Callable[..., tuple[int, str, str]]
PROMPT = "When Mary and John went to the store, John gave a drink to"


def test_layers_and_parts_as_json(command: Command) -> None:
    code, out, _ = command("lens", PROMPT, "--json", "--top", "2")
    last = json.loads(out)["reading"][-1]
    assert (code, last["top"][0]["token"], last["kl"]) == (0, " Mary", 0.0)
    code, out, _ = command("lens", PROMPT, "--by", "head", "--target", " Mary", "--foil", " John", "--json")
    found = json.loads(out)
    assert sum(part["score"] for part in found["parts"]) == pytest.approx(found["value"], abs=1e-3)


def test_tables_are_shown(command: Command) -> None:
    assert "p( Mary)" in command("lens", PROMPT)[1]
    assert "block 5" in command("lens", PROMPT, "--steps")[1]
    assert "The parts sum to" in command("lens", PROMPT, "--by", "layer")[1]
    assert "the model" in command("lens", "The day after", "--grid")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--at", "99"), "--at 99"),
        (("--foil", " John"), "--by"),
        (("--by", "latent"), "--run"),
        (("--target", "xyzzy"), "xyzzy"),
        (("--lens", "none"), "There is no lens at none"),
        (("--temperature", "0", "--steps"), "--temperature 0"),
        (("--temperature", "nan", "--steps"), "--temperature nan"),
        (("--grid", "--by", "head"), "three views"),
        (("--by", "head", "--target", "Mary"), "take ' Mary', with the space before it"),
        (("--by", "head", "--target", " Mary", "--foil", " Mary"), "are the same"),
    ],
)
def test_what_is_wrong_is_said(command: Command, words: tuple[str, ...], said: str) -> None:
    code, _, err = command("lens", PROMPT, *words)
    assert (code, said in err) == (2, True)
