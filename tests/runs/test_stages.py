"""The walk along a graph of stages, with toy stages."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from monosema.core import DiskFullError, read_json
from monosema.runs.ledger import Ledger
from monosema.runs.stages import Stage, advance, needed, stage_inputs


class Toy:
    """A bench for toy stages; counts how often each one worked."""

    def __init__(self, folder: Path, **recipe: Any) -> None:
        self.folder = folder
        self.recipe = recipe
        self.sources = {"model": "m", "corpus": "c"}
        self.worked: list[str] = []
        self.fail: dict[str, BaseException] = {}


def toy_stage(name: str, needs: tuple[str, ...], reads: tuple[str, ...], resumes: bool = False) -> Stage:
    def outputs(bench: Any) -> list[Path]:
        return [bench.folder / name]

    def work(bench: Any) -> Mapping[str, Any]:
        bench.worked.append(name)
        target = bench.folder / name
        target.mkdir(exist_ok=True)
        (target / "half").write_text("half")
        if name in bench.fail:
            raise bench.fail.pop(name)
        (target / "whole").write_text(name)
        return {"things": len(list(target.iterdir()))}

    return Stage(name, needs, reads, 1, resumes, outputs, work)


STAGES = (
    toy_stage("first", (), ("a",), resumes=True),
    toy_stage("second", ("first",), ("b",)),
    toy_stage("side", ("first",), ("c",)),
    toy_stage("last", ("second", "side"), ()),
)


def walk(bench: Toy, until: str = "last") -> list[str]:
    told: list[str] = []
    bench.worked.clear()
    inputs = stage_inputs(STAGES, bench.recipe, bench.sources)
    advance(STAGES, until, bench.folder, inputs, bench, told.append)
    return told


def test_all_stages_work_once_and_are_skipped_after(tmp_path: Path) -> None:
    bench = Toy(tmp_path, a=1, b=1, c=1)
    walk(bench)
    assert bench.worked == ["first", "second", "side", "last"]
    told = walk(bench)
    assert bench.worked == []
    assert told[0] == "first: done before (2 things)"
    record = read_json(tmp_path / "stages.json")["stages"]["first"]
    assert record["state"] == "done"
    assert record["seconds"] > 0
    assert set(record["outputs"]) == {"first/half", "first/whole"}
    assert record["versions"]["monosema"]


def test_only_what_depends_on_a_changed_key_is_made_again(tmp_path: Path) -> None:
    walk(Toy(tmp_path, a=1, b=1, c=1))
    bench = Toy(tmp_path, a=1, b=2, c=1)
    walk(bench)
    assert bench.worked == ["second", "last"]


def test_another_model_or_text_makes_all_again(tmp_path: Path) -> None:
    walk(Toy(tmp_path, a=1, b=1, c=1))
    bench = Toy(tmp_path, a=1, b=1, c=1)
    bench.sources["corpus"] = "other"
    walk(bench)
    assert bench.worked == ["first", "second", "side", "last"]


def test_until_a_stage_makes_what_it_needs_and_no_more(tmp_path: Path) -> None:
    bench = Toy(tmp_path, a=1, b=1, c=1)
    walk(bench, "side")
    assert bench.worked == ["first", "side"]
    assert [stage.name for stage in needed(STAGES, "second")] == ["first", "second"]
    with pytest.raises(KeyError):
        needed(STAGES, "nowhere")


def test_a_stage_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    bench = Toy(tmp_path, a=1, b=1, c=1)
    bench.fail = {"second": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        walk(bench)
    assert Ledger(tmp_path).records()["second"].state == "running"
    (tmp_path / "second" / "leftover").write_text("x")
    walk(bench)
    assert bench.worked == ["second", "side", "last"]
    assert not (tmp_path / "second" / "leftover").exists()


@pytest.mark.parametrize("harm", ["missing", "shorter", "changed"])
def test_a_damaged_output_is_named_and_made_again(tmp_path: Path, harm: str) -> None:
    bench = Toy(tmp_path, a=1, b=1, c=1)
    walk(bench)
    file = tmp_path / "side" / "whole"
    if harm == "missing":
        file.unlink()
    else:
        file.write_text("s" if harm == "shorter" else "SIDE")
    told = walk(bench)
    assert bench.worked == ["side"]
    assert any("side/whole" in line and "making it again" in line for line in told)
    assert file.read_text() == "side"


def test_a_full_disk_is_said_so_and_earlier_stages_stay(tmp_path: Path) -> None:
    bench = Toy(tmp_path, a=1, b=1, c=1)
    bench.fail = {"second": OSError(errno.ENOSPC, "No space left on device")}
    with pytest.raises(DiskFullError, match="while the stage second wrote"):
        walk(bench)
    walk(bench)
    assert bench.worked == ["second", "side", "last"]


def test_inputs_depend_on_upstream_inputs() -> None:
    one = stage_inputs(STAGES, {"a": 1, "b": 1, "c": 1}, {})
    two = stage_inputs(STAGES, {"a": 2, "b": 1, "c": 1}, {})
    assert all(one[name] != two[name] for name in one)
