"""Heads from the command line."""

from __future__ import annotations

from collections.abc import Callable

Command = Callable[..., tuple[int, str, str]]


def test_bad_numbers_of_prompts_are_refused(command: Command) -> None:
    code, _, err = command("heads", "specimen", "--prompts", "1")
    assert (code, "--prompts 1" in err) == (2, True)
