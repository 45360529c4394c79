"""Causes from the command line, on a copy of a finished run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Command = Callable[..., tuple[int, str, str]]


def test_causes_are_printed_beside_others_kept_and_shown_in_the_report(copied: Path, command: Command) -> None:
    code, out, _ = command("causes", copied, 3, "--first", 2)
    assert code == 0
    assert out.count("output score") == 3
    assert "random direction" in out
    found = json.loads(command("causes", copied, 3, "--json")[1])["features"]
    assert [one["latent"] for one in found] == [3]
    assert "report: made again, because the causes changed" in command("report", copied)[2]
    assert "report: done before" in command("report", copied)[2]


def test_what_to_measure_must_be_said(copied: Path, command: Command) -> None:
    code, _, err = command("causes", copied)
    assert (code, "--first 20" in err) == (2, True)
    code, _, err = command("causes", copied, 100_000)
    assert (code, "100000" in err) == (2, True)
