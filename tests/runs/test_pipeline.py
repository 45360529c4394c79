"""The walk along a graph of stages, with toy stages."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from monosema.core import DiskFullError, read_json
from monosema.runs.ledger import Ledger
from monosema.runs.pipeline import Stage, advance, needed, stage_inputs


class Toy:
    """A ctx for toy stages; counts how often each one worked."""

    def __init__(self, folder: Path, **recipe: Any) -> None:
        self.folder = folder
        self.recipe = recipe
        self.sources = {"model": "m", "corpus": "c"}
        self.worked: list[str] = []
        self.fail: dict[str, BaseException] = {}


def toy_stage(name: str, needs: tuple[str, ...], reads: tuple[str, ...], resumes: bool = False) -> Stage:
    def outputs(ctx: Any) -> list[Path]:
        return [ctx.folder / name]

    def work(ctx: Any) -> Mapping[str, Any]:
        ctx.worked.append(name)
        target = ctx.folder / name
        target.mkdir(exist_ok=True)
        (target / "half").write_text("half")
        if name in ctx.fail:
            raise ctx.fail.pop(name)
        (target / "whole").write_text(name)
        return {"things": len(list(target.iterdir()))}

    return Stage(name, needs, reads, 1, resumes, outputs, work)


STAGES = (
    toy_stage("first", (), ("a",), resumes=True),
    toy_stage("second", ("first",), ("b",)),
    toy_stage("side", ("first",), ("c",)),
    toy_stage("last", ("second", "side"), ()),
)


def walk(ctx: Toy, until: str = "last") -> list[str]:
    told: list[str] = []
    ctx.worked.clear()
    inputs = stage_inputs(STAGES, ctx.recipe, ctx.sources)
    advance(STAGES, until, ctx.folder, inputs, ctx, told.append)
    return told


def test_all_stages_work_once_and_are_skipped_after(tmp_path: Path) -> None:
    ctx = Toy(tmp_path, a=1, b=1, c=1)
    walk(ctx)
    assert ctx.worked == ["first", "second", "side", "last"]
    told = walk(ctx)
    assert ctx.worked == []
    assert told[0] == "first: done before (2 things)"
    record = read_json(tmp_path / "stages.json")["stages"]["first"]
    assert record["state"] == "done"
    assert record["seconds"] > 0
    assert set(record["outputs"]) == {"first/half", "first/whole"}
    assert record["versions"]["monosema"]


def test_only_what_depends_on_a_changed_key_is_made_again(tmp_path: Path) -> None:
    walk(Toy(tmp_path, a=1, b=1, c=1))
    ctx = Toy(tmp_path, a=1, b=2, c=1)
    walk(ctx)
    assert ctx.worked == ["second", "last"]


def test_another_model_or_text_makes_all_again(tmp_path: Path) -> None:
    walk(Toy(tmp_path, a=1, b=1, c=1))
    ctx = Toy(tmp_path, a=1, b=1, c=1)
    ctx.sources["corpus"] = "other"
    walk(ctx)
    assert ctx.worked == ["first", "second", "side", "last"]


def test_until_a_stage_makes_what_it_needs_and_no_more(tmp_path: Path) -> None:
    ctx = Toy(tmp_path, a=1, b=1, c=1)
    walk(ctx, "side")
    assert ctx.worked == ["first", "side"]
    assert [stage.name for stage in needed(STAGES, "second")] == ["first", "second"]
    with pytest.raises(KeyError):
        needed(STAGES, "nowhere")


def test_a_stage_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    ctx = Toy(tmp_path, a=1, b=1, c=1)
    ctx.fail = {"second": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        walk(ctx)
    assert Ledger(tmp_path).records()["second"].state == "running"
    (tmp_path / "second" / "leftover").write_text("x")
    walk(ctx)
    assert ctx.worked == ["second", "side", "last"]
    assert not (tmp_path / "second" / "leftover").exists()


@pytest.mark.parametrize("harm", ["missing", "shorter", "changed"])
def test_a_damaged_output_is_named_and_made_again(tmp_path: Path, harm: str) -> None:
    ctx = Toy(tmp_path, a=1, b=1, c=1)
    walk(ctx)
    file = tmp_path / "side" / "whole"
    if harm == "missing":
        file.unlink()
    else:
        file.write_text("s" if harm == "shorter" else "SIDE")
    told = walk(ctx)
    assert ctx.worked == ["side"]
    assert any("side/whole" in line and "making it again" in line for line in told)
    assert file.read_text() == "side"


def test_a_full_disk_is_said_so_and_earlier_stages_stay(tmp_path: Path) -> None:
    ctx = Toy(tmp_path, a=1, b=1, c=1)
    ctx.fail = {"second": OSError(errno.ENOSPC, "No space left on device")}
    with pytest.raises(DiskFullError, match="while the stage second wrote"):
        walk(ctx)
    walk(ctx)
    assert ctx.worked == ["second", "side", "last"]


def test_inputs_depend_on_upstream_inputs() -> None:
    one = stage_inputs(STAGES, {"a": 1, "b": 1, "c": 1}, {})
    two = stage_inputs(STAGES, {"a": 2, "b": 1, "c": 1}, {})
    assert all(one[name] != two[name] for name in one)
