"""Probes from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from monosema.steering import read_directions

Command = Callable[..., tuple[int, str, str]]


def test_a_probe_of_an_own_file_is_judged_and_its_direction_written(
    command: Command, tmp_path: Path, tiny_directory: Path
) -> None:
    rows = [{"text": f"{'aaa' if n % 2 else 'zzz'} {n}{'.' if n % 2 else '!'}", "label": n % 2} for n in range(90)]
    data, out = tmp_path / "own.jsonl", tmp_path / "own.toml"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    code, said, _ = command("probe", data, "--model", tiny_directory, "--layers", "1", "--out", out, "--json")
    found = {one["method"]: one for one in json.loads(said)["probes"]}
    assert (code, found["logistic"]["accuracy"]["value"]) == (0, 1.0)
    assert found["logistic"]["selectivity"] is None
    (direction,) = read_directions(out)
    assert (direction.site.short, len(direction.vector)) == ("1.resid_post", 32)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing",), "no task and no file"),
        (("truth", "--layers", "9"), "--layers 9"),
        (("ioi",), "right answers"),
        (("truth", "--out", "x.csv"), "--out x.csv"),
    ],
)
def test_what_is_wrong_is_said(command: Command, words: tuple[str, ...], said: str) -> None:
    code, _, err = command("probe", *words)
    assert (code, said in err) == (2, True)
