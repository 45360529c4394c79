"""People's labels and votes from the command line, on a copy of a finished run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from monosema.runs import Run

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(finished: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


def test_a_label_is_given_voted_on_and_listed(folder: Path, command: Command) -> None:
    latent = str(Run.open(folder).atlas().features(limit=1)[0]["latent"])
    code, out, _ = command("label", folder, latent, "names [of] months", "--author", "Ada")
    assert (code, "names [of] months" in out) == (0, True)
    assert command("label", folder, latent, "--vote", "up", "--author", "Grace")[0] == 0
    code, out, _ = command("label", folder, latent, "--vote", "down", "--of", "token lookup", "--author", "Grace")
    assert (code, "for wrong" in out) == (0, True)
    code, out, _ = command("label", folder, "--list")
    assert out.count("Grace") == 2
    values = json.loads(command("label", folder, "--list", "--json")[1])
    assert [row["text"] for row in values["labels"]] == ["names [of] months"]
    assert sorted(row["vote"] for row in values["votes"]) == [-1, 1]
    shown = json.loads(command("atlas", folder, "show", latent, "--json")[1])
    assert (shown["label"], shown["label_author"]) == ("names [of] months", "Ada")
    found = json.loads(command("label", folder, "--agreement", "--json")[1])
    assert found["people"][0]["absent"] == "no explanation has votes of two people"
    assert command("label", folder, "--agreement")[0] == 0


def test_labels_and_votes_are_taken_back(folder: Path, command: Command) -> None:
    latent = str(Run.open(folder).atlas().features(limit=1)[0]["latent"])
    assert command("label", folder, latent, "months", "--author", "Ada")[0] == 0
    assert command("label", folder, latent, "--vote", "up", "--author", "Grace")[0] == 0
    code, out, _ = command("label", folder, latent, "--vote", "none", "--author", "Grace")
    assert (code, "no longer votes on 'months'" in " ".join(out.split())) == (0, True)
    code, out, _ = command("label", folder, latent, "--remove", "--author", "Ada")
    assert (code, "no longer called 'months'" in " ".join(out.split())) == (0, True)
    assert json.loads(command("label", folder, "--list", "--json")[1]) == {"labels": [], "votes": []}
    code, _, err = command("label", folder, latent, "--remove", "--author", "Ada")
    assert (code, "no label by 'Ada'" in err) == (2, True)
    assert command("label", folder, latent, "--remove", "--vote", "up")[0] == 2


def test_a_run_goes_on_after_labels_and_keeps_them(folder: Path, command: Command) -> None:
    assert command("label", folder, "0", "mine")[0] == 0
    code, _, err = command("run", folder, "--json")
    assert (code, "atlas: done before" in err) == (0, True)
    assert "report: made again, because the atlas's labels, votes or scores changed" in err
    assert "report: done before" in command("report", folder)[2]
    code, _, err = command("run", folder, "--atlas.top", "3", "--update", "--json")
    assert (code, "atlas: made again, because atlas.top changed from 20 to 3" in err) == (0, True)
    assert Run.open(folder).atlas().feature(0).label == "mine"
    Run.open(folder).atlas().file("examples").unlink()
    code, _, err = command("run", folder, "--json")
    assert (code, "has lost its table" in err) == (0, True)
    assert Run.open(folder).atlas().feature(0).label == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Give a feature, and a label, --vote or --remove"),
        (("0",), "Give a feature, and a label, --vote or --remove"),
        (("0", "text", "--vote", "up"), "Give a feature, and a label, --vote or --remove"),
        (("64", "text"), "0 to 63"),
        (("0", "  "), "needs a text"),
        (("0", "--vote", "sideways"), "sideways"),
        (("0", "--vote", "up", "--of", "nobody"), "no explanation of 'nobody'"),
    ],
)
def test_what_is_wrong_is_said(finished: Run, command: Command, words: tuple[str, ...], message: str) -> None:
    code, out, err = command("label", finished.folder, *words)
    assert (code, out) == (2, "")
    assert message in err
