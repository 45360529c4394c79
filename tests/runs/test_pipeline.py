"""The way of a run along its stages, with toy stages."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from monosema.core import ConfigError, DiskFullError, digest, read_json, write_json
from monosema.recipes import demo
from monosema.runs import Stage, register_stage
from monosema.runs.context import RunContext
from monosema.runs.ledger import Ledger
from monosema.runs.pipeline import advance, discard_outputs, inputs_of, is_up_to_date, needed, upgrade

SOURCES = {"the model": "m", "the text": "c"}


class Toy(RunContext):
    """A context for toy stages; counts how often each one worked."""

    def __init__(self, folder: Path, **recipe: Any) -> None:
        super().__init__(demo().replace(**recipe), folder)
        self.sources = dict(SOURCES)
        self.worked: list[str] = []
        self.fail: dict[str, BaseException] = {}


def toy_stage(name: str, needs: tuple[str, ...], reads: tuple[str, ...], resumes: bool = False) -> Stage:
    def make(ctx: Any) -> Mapping[str, Any]:
        ctx.worked.append(name)
        target = ctx.folder / name
        target.mkdir(exist_ok=True)
        (target / "half").write_text("half")
        if name in ctx.fail:
            raise ctx.fail.pop(name)
        (target / "whole").write_text(name)
        return {"things": len(list(target.iterdir()))}

    return Stage(
        name=name, make=make, writes=lambda ctx: [ctx.folder / name], needs=needs, reads=reads, resumes=resumes
    )


TOYS = (
    toy_stage("first", (), ("site", "text"), resumes=True),
    toy_stage("second", ("first",), ("evaluation_tokens",)),
    toy_stage("side", ("first",), ("atlas_tokens",)),
    toy_stage("last", ("second", "side"), ()),
)


def walk(ctx: Toy, until: str | None = None) -> list[str]:
    told: list[str] = []
    ctx.worked.clear()
    advance(ctx, until, told.append, TOYS)
    return told


def test_all_stages_work_once_and_are_skipped_after(tmp_path: Path) -> None:
    ctx = Toy(tmp_path)
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


def test_only_what_depends_on_a_changed_key_is_made_again_and_names_it(tmp_path: Path) -> None:
    walk(Toy(tmp_path))
    ctx = Toy(tmp_path, evaluation_tokens=30_000)
    assert walk(ctx) == [
        "first: done before (2 things)",
        "second: made again, because evaluation_tokens changed from 40,000 to 30,000",
        "side: done before (2 things)",
        "last: made again, because second changed",
    ]
    assert ctx.worked == ["second", "last"]


def test_another_model_or_text_makes_all_again(tmp_path: Path) -> None:
    walk(Toy(tmp_path))
    ctx = Toy(tmp_path)
    ctx.sources = {**SOURCES, "the text": "other"}
    told = walk(ctx)
    assert ctx.worked == ["first", "second", "side", "last"]
    assert told[0] == "first: made again, because the text changed"


def test_until_a_stage_makes_what_it_needs_and_no_more(tmp_path: Path) -> None:
    ctx = Toy(tmp_path)
    walk(ctx, "side")
    assert ctx.worked == ["first", "side"]
    assert [stage.name for stage in needed(TOYS, "second")] == ["first", "second"]
    with pytest.raises(ConfigError, match=r"There is no stage 'secnd'\. Did you mean 'second'"):
        needed(TOYS, "secnd")


def test_a_stage_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    ctx = Toy(tmp_path)
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
    ctx = Toy(tmp_path)
    walk(ctx)
    file = tmp_path / "side" / "whole"
    if harm == "missing":
        file.unlink()
    else:
        file.write_text("s" if harm == "shorter" else "SIDE")
    told = walk(ctx)
    assert ctx.worked == ["side"]
    assert any(line.startswith("side: made again, because side/whole") for line in told)
    assert file.read_text() == "side"


def test_a_full_disk_is_said_so_and_earlier_stages_stay(tmp_path: Path) -> None:
    ctx = Toy(tmp_path)
    ctx.fail = {"second": OSError(errno.ENOSPC, "No space left on device")}
    with pytest.raises(DiskFullError, match="while the stage second wrote"):
        walk(ctx)
    walk(ctx)
    assert ctx.worked == ["second", "side", "last"]


def test_a_question_deletes_nothing(tmp_path: Path) -> None:
    ctx = Toy(tmp_path)
    walk(ctx)
    stage, files = TOYS[0], sorted(tmp_path.rglob("*"))
    inputs = inputs_of(stage, ctx.recipe, SOURCES, {})
    assert is_up_to_date(stage, inputs, ctx)
    assert not is_up_to_date(stage, inputs_of(stage, ctx.recipe, {**SOURCES, "the model": "n"}, {}), ctx)
    (tmp_path / "first" / "whole").write_text("damaged")
    assert not is_up_to_date(stage, inputs, ctx)
    assert sorted(tmp_path.rglob("*")) == files
    discard_outputs(stage, ctx)
    assert not (tmp_path / "first").exists()


def test_facts_are_read_anew_each_time(tmp_path: Path) -> None:
    note = tmp_path / "note"
    stage = Stage(
        name="page",
        make=lambda ctx: {},
        writes=lambda ctx: [],
        facts=lambda ctx: {"the note": digest(note.read_text())},
    )
    told: list[str] = []
    for text in ("one", "one", "two"):
        note.write_text(text)
        advance(Toy(tmp_path), None, told.append, [stage])
    assert told == ["page: done before", "page: made again, because the note changed"]


def test_one_digest_of_an_earlier_version_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosema.runs.pipeline.STAGES", list(TOYS))
    ctx = Toy(tmp_path)
    walk(ctx)
    written = ctx.recipe.to_dict()
    table, old = read_json(tmp_path / "stages.json"), dict[str, str]()
    for stage in TOYS:
        old[stage.name] = digest(
            {
                "stage": [stage.name, 1],
                "recipe": {key: written[key] for key in stage.reads},
                "needs": [old[name] for name in stage.needs],
                "sources": {"model": "m", "corpus": "c"},
            }
        )
        table["stages"][stage.name]["inputs"] = old[stage.name]
    table["stages"]["side"]["inputs"] = "0123456789abcdef"
    write_json(tmp_path / "stages.json", {**table, "format": 1})
    upgrade(tmp_path, ctx.recipe, written, SOURCES)
    assert walk(ctx) == [
        "first: done before (2 things)",
        "second: done before (2 things)",
        "side: made again, because its inputs changed since an earlier version of monosema made it",
        "last: done before (2 things)",
    ]


def test_a_stage_from_outside_is_registered_behind_the_others(registry: list[Stage]) -> None:
    def stage(name: str = "words", **fields: Any) -> Stage:
        return Stage(name=name, make=lambda ctx: {}, writes=lambda ctx: [], **fields)

    register_stage(stage(needs=("capture",), reads=("text",)))
    assert [one.name for one in needed(registry, None)][-2:] == ["report", "words"]
    assert [one.name for one in needed(registry, "words")] == ["capture", "words"]
    for wrong, says in (
        (stage(), "already"),
        (stage("more", needs=("capure",)), "the stage 'capure', which does not exist. Did you mean 'capture'"),
        (stage("more", reads=("txt",)), "the key 'txt', which does not exist. Did you mean 'text'"),
    ):
        with pytest.raises(ConfigError, match=says):
            register_stage(wrong)
