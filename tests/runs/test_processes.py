"""Run folders and sweeps in several processes: what one process makes, and what happens when one is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from monosema.core import read_json
from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, Run, override

PROGRAM = Path(__file__).parents[1] / "helpers" / "walks_together.py"
SWEEP = {"k": ["4", "8"]}
KEYS = {"latents": "128", "tokens": "6000", "batch": "256", "passes": "2", "log_every": "5", "checkpoint_steps": "10"}
"""About forty steps."""
END_TO_END = {
    **{"objective": "end-to-end", "downstream": "0.5", "site": "0.resid_post", "tokens": "3000", "batch": "320"},
    **{"architecture": "batch_topk", "latents": "192", "k_aux": "0", "resample_at": "[0.3]", "log_every": "2"},
}
"""Windows that three processes can't divide evenly; AuxK looks at other tokens in parts than in the whole."""

pytestmark = pytest.mark.slow


def do(cases: list[dict[str, Any]], folder: Path) -> None:
    listed = folder / "cases.json"
    listed.write_text(json.dumps(cases))
    done = subprocess.run([sys.executable, str(PROGRAM), str(listed)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def said(folder: Path, processes: int) -> list[str | None]:
    paths = [folder.parent / f"{folder.name}-{processes}-{rank}.txt" for rank in range(processes)]
    return [path.read_text() if path.exists() else None for path in paths]


@pytest.fixture(scope="module")
def recipe(small_keys: dict[str, str]) -> str:
    return override(demo(), {**small_keys, **KEYS}, SHORT_KEYS).to_toml()


@pytest.fixture(scope="module")
def made(recipe: str, small_keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by one process and by two, one that lost a process, and sweeps."""
    learns = {"recipe": override(demo(), {**small_keys, **KEYS, **END_TO_END}, SHORT_KEYS).to_toml()}
    folder = tmp_path_factory.mktemp("together")
    two = {"processes": 2, "recipe": recipe}
    other = recipe.replace("k = 4\n", "k = 5\n")
    assert other != recipe
    do(
        [
            {"recipe": recipe, "folder": str(folder / "one"), "until": "evaluate"},
            {**two, "folder": str(folder / "two"), "until": "evaluate"},
            {**two, "folder": str(folder / "two-again"), "until": "capture"},
            {**two, "recipe": other, "folder": str(folder / "two-again"), "until": "train"},
            {**two, "shards": 2, "folder": str(folder / "lost"), "until": "train", "dies": 1, "dies_at": 23},
            {"recipe": recipe, "folder": str(folder / "lost"), "until": "train"},
            {"recipe": recipe, "folder": str(folder / "swept-by-one"), "sweep": SWEEP},
            {**two, "folder": str(folder / "swept-by-two"), "sweep": SWEEP},
            {**learns, "folder": str(folder / "learnt-by-one"), "until": "train"},
            {**learns, "folder": str(folder / "learnt-by-three"), "until": "train", "processes": 3},
            {**learns, "folder": str(folder / "sharded"), "until": "train", "processes": 2, "shards": 2},
            {**learns, "folder": str(folder / "learnt-by-two"), "sweep": SWEEP, "processes": 2},
        ],
        folder,
    )
    return folder


def curve(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_close(found: Path, expected: Path) -> None:
    ours, theirs = curve(found), curve(expected)
    assert len(ours) > 5
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for line, other in zip(ours, theirs, strict=True):
        assert abs(line["fvu"] - other["fvu"]) <= 1e-4


def dictionary(run: Path) -> Path:
    (folder,) = (run / "dictionaries").iterdir()
    return folder


def test_a_run_by_two_processes_is_that_of_one(made: Path) -> None:
    assert said(made / "two", 2) == ["done from step 0"] * 2
    assert_close(dictionary(made / "two"), dictionary(made / "one"))
    one, two = (Run.open(made / name) for name in ("one", "two"))
    assert list(two.stages) == list(one.stages) == ["capture", "train", "evaluate"]
    assert {record.state for record in two.stages.values()} == {"done"}
    assert two.recipe == one.recipe
    figures = [run.evaluation().dictionary.metrics["fvu"].value for run in (one, two)]
    assert figures[0] == pytest.approx(figures[1], abs=1e-3)
    assert two.dictionary().metadata == one.dictionary().metadata
    assert not (made / "two" / ".lock-owner").exists()


def test_what_the_first_process_refuses_ends_all_with_its_reason(made: Path) -> None:
    first, second = said(made / "two-again", 2)
    assert first is not None
    assert second is not None
    assert "made by another recipe: --k is 4 there and 5 here" in first
    assert second.startswith("RunError: The first process stopped, and with it all others: The run folder")


def test_after_a_lost_process_the_run_goes_on_with_another_number(made: Path) -> None:
    first, second = said(made / "lost", 2)
    assert second is None
    assert first is not None
    assert "lost another process" in first
    assert "goes on from the newest checkpoint" in first
    assert said(made / "lost", 1) == ["done from step 20"]
    stages = read_json(made / "lost" / "stages.json")["stages"]
    assert [stages[name]["state"] for name in ("capture", "train")] == ["done", "done"]
    assert_close(dictionary(made / "lost"), dictionary(made / "one"))


def test_a_sweep_by_two_processes_is_that_of_one(made: Path) -> None:
    assert said(made / "swept-by-two", 2) == ["done from step 0"] * 2
    one, two = (next((made / name / "sweeps").iterdir()) for name in ("swept-by-one", "swept-by-two"))
    results = [read_json(folder / "sweep.json") for folder in (one, two)]
    assert results[0]["front"] == results[1]["front"]
    assert results[0]["held_out"] == results[1]["held_out"] > 0
    for ours, theirs in zip(*(result["members"] for result in results), strict=True):
        assert ours["name"] == theirs["name"]
        assert ours["fvu"] == pytest.approx(theirs["fvu"], abs=1e-3)
        assert_close(two / ours["name"], one / ours["name"])
    assert (two / "trade-off.svg").exists()


def test_end_to_end_by_three_processes_is_that_of_one(made: Path) -> None:
    """The model's loss too, though their parts of a batch differ in windows and in kept tokens."""
    assert said(made / "learnt-by-three", 3) == ["done from step 0"] * 3
    one, three = (dictionary(made / name) for name in ("learnt-by-one", "learnt-by-three"))
    assert_close(three, one)
    for line, other in zip(curve(three), curve(one), strict=True):
        for term in ("loss_kl", "loss_downstream"):
            assert line[term] == pytest.approx(other[term], abs=1e-4)
    assert not list((made / "learnt-by-three").rglob("windows.npy"))


def test_a_sweep_end_to_end_trains_members_as_alone(made: Path) -> None:
    """The member with the run's k, by two processes in a sweep, is the dictionary that one process trains alone."""
    assert said(made / "learnt-by-two", 2) == ["done from step 0"] * 2
    (folder,) = (made / "learnt-by-two" / "sweeps").iterdir()
    assert_close(folder / "k=4", dictionary(made / "learnt-by-one"))
    assert not list(folder.rglob("windows.npy"))
    members = {member["name"]: member for member in read_json(folder / "sweep.json")["members"]}
    assert set(members["k=8"]["terms"]) == {"kl", "downstream"}
    assert members["k=8"]["fvu"] > 0


def test_latents_of_end_to_end_training_stay_together(made: Path) -> None:
    for message in said(made / "sharded", 2):
        assert message is not None
        assert "in end-to-end training processes share the batch alone" in message
