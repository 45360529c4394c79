"""patch: the places of a planted circuit are found, shown and written, and what can't be asked is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.planted_pairs import planted_pairs

from monosema.circuits.planted import PLANTED, Planted

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def subject() -> Planted:
    return PLANTED["induction"](20)


@pytest.fixture
def pairs(subject: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return planted_pairs(subject, tmp_path, monkeypatch)


def asked(command: Command, *words: object) -> dict[str, Any]:
    code, text, err = command("patch", *words, "--json", "--debug")
    assert code == 0, err
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_heads_of_a_planted_circuit_alone_matter(pairs: Path, command: Command) -> None:
    for direction in ("noising", "denoising"):
        found = asked(command, pairs, "--what", "heads", "--direction", direction)
        rows, columns = found["rows"], found["columns"]
        apart = {
            f"a{row.removeprefix('block ')}.{column}"
            for row, cells in zip(rows, found["told_apart"], strict=True)
            for column, told in zip(columns, cells, strict=True)
            if told
        }
        # The second head's own output is enough; the first one's is needed, but its clean keys find no clean values.
        assert apart == ({"a0.h0", "a1.h1"} if direction == "noising" else {"a1.h1"})
        assert (found["direction"], found["n"], found["accuracy"]["value"]) == (direction, 20, 1.0)


def test_paths_and_effects_lead_where_they_were_planted(pairs: Path, command: Command) -> None:
    found = asked(command, pairs, "--path", "a0.h0->a1.h1<k>->logits", "--path", "a0.h0->logits")
    along, beside = (row[0]["value"] for row in found["shares"])
    assert along > 0.9
    assert abs(beside) < 0.05
    found = asked(command, pairs, "--what", "effects")
    shares = dict(zip(found["rows"], found["shares"], strict=True))
    total, direct, indirect, _ = (one["value"] for one in shares["a0.h0"])
    assert total > 0.9
    assert abs(direct) < 0.05
    assert indirect == pytest.approx(total, abs=0.05)
    assert shares["a1.h1"][1]["value"] == pytest.approx(shares["a1.h1"][0]["value"], abs=0.05)


def test_heat_maps_are_printed_and_written_as_a_page(pairs: Path, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "patched"
    code, text, err = command("patch", pairs, "--positions", "tokens", "--out", out)
    assert code == 0, err
    words = " ".join(text.split())
    for part in ("100% of 20 held-out prompts right", "block 1", "chance, corrected for all", "the largest, block"):
        assert part in words
    page = (out / "index.html").read_text()
    assert "not told from chance" in page
    assert "<svg" in page
    assert json.loads((out / "result.json").read_text())["what"] == "residual"
    code, text, err = command("patch", pairs, "--what", "neurons", "--top", "3", "--out", out)
    assert code == 0, err
    words = " ".join(text.split())
    # The planted model has no MLP that does anything; estimates are no effects of their own.
    assert "0 of 6 measured single units are told from chance, corrected for all 12 figures" in words
    assert "At random: 3 of" not in words
    code, text, err = command("patch", pairs, "--what", "neurons", "--top", "4")
    assert code == 0, err
    assert "At random: 3 of 4 shown" in " ".join(text.split())
    assert "by estimate" in (out / "result.md").read_text()


def test_too_few_usable_prompts_are_told_from_a_task_that_is_too_hard(pairs: Path, command: Command) -> None:
    first, second, *_ = map(json.loads, pairs.read_text().splitlines())
    pairs.write_text("\n".join(map(json.dumps, (first, {**second, "corrupt": second["corrupt"] * 2}))))
    code, _, err = command("patch", pairs)
    words = " ".join(err.split())
    assert code == 2
    assert "Left out: 1, since clean and corrupted prompt differ in length." in words
    assert "Too few prompts can be used: give at least 4 held-out ones." in words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--what", "head"), "heads"),
        (("--what", "latents"), "needs a dictionary"),
        (("--what", "paths"), "give some with --path"),
        (("--what", "effects", "--direction", "denoising"), "of noising alone"),
        (("--direction", "up"), "--direction"),
        (("--ablation", "mean", "--direction", "denoising"), "leave out the ablation"),
        (("--path", "a9.h0->logits"), "no component 'a9.h0'"),
        (("--metric", "loss"), "no metric 'loss'"),
    ],
)
def test_what_can_not_be_asked_is_said(pairs: Path, command: Command, words: tuple[str, ...], says: str) -> None:
    code, _, err = command("patch", pairs, *words)
    assert code == 2
    assert says in " ".join(err.split())
    code, _, err = command("patch", "ioj")
    assert "There is no task 'ioj'" in err
