"""Stages as a graph, and the walk along it: skip what is done, go on with what was begun, make the rest."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from monosema.core import DiskFullError, Log, digest
from monosema.core.files import is_disk_full
from monosema.runs.ledger import Ledger, StageRecord, versions
from monosema.training.distribution import Mesh


@dataclass(frozen=True)
class Stage:
    """One station of the walk.

    Attributes:
        name: as in stages.json and on the command line.
        needs: stages whose results it reads.
        reads: parts of the recipe that its result depends on.
        version: raised when the code makes another result from the same inputs.
        resumes: whether its work goes on from half-made outputs, and mends damaged ones; else they are removed first.
        outputs: the files or folders it makes, in the context of the run.
        work: makes them; returns counts worth keeping.
        damage: says what is wrong with finished outputs, for those that may change afterwards and keep their own
            checksums; None for outputs that must stay as they were made.
        stale: says why finished outputs are out of date although the recipe is the same: what they were made from has
            been added to.
        replaces: whether its work itself replaces outputs of other inputs, and keeps of them what people added; else
            they are removed first.
        shared: whether all processes of a run work on it together; else the first does it, and the others wait.
    """

    name: str
    needs: tuple[str, ...]
    reads: tuple[str, ...]
    version: int
    resumes: bool
    outputs: Callable[[Any], Sequence[Path]]
    work: Callable[[Any], Mapping[str, Any]]
    damage: Callable[[Any], list[str]] | None = None
    stale: Callable[[Any, StageRecord], list[str]] | None = None
    replaces: bool = False
    shared: bool = False


def needed(stages: Sequence[Stage], until: str) -> list[Stage]:
    """The stage `until` and all it needs, in their order. Raises KeyError when there is no such stage."""
    by_name = {stage.name: stage for stage in stages}
    wanted = {until}
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted.update(by_name[stage.name].needs)
    if until not in by_name:
        raise KeyError(until)
    return [stage for stage in stages if stage.name in wanted]


def stage_inputs(stages: Sequence[Stage], recipe: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, str]:
    """Digest of all that each stage's result depends on: the sources (digests of the model and the text), its parts of
    the recipe, the digests of the stages it needs, and its version."""
    digests: dict[str, str] = {}
    for stage in stages:
        digests[stage.name] = digest(
            {
                "stage": [stage.name, stage.version],
                "recipe": {part: recipe[part] for part in stage.reads if part in recipe},
                "needs": [digests[name] for name in stage.needs],
                "sources": dict(sources),
            }
        )
    return digests


def advance(
    stages: Sequence[Stage],
    until: str,
    folder: Path,
    inputs: Mapping[str, str],
    ctx: Any,
    log: Log,
    mesh: Mesh | None = None,
) -> None:
    """Bring the run to where the stage `until` is done.

    Args:
        stages: the graph, each stage after all that it needs.
        until: the last stage to make.
        folder: the run folder.
        inputs: digest of each stage's inputs.
        ctx: handed to the stages' functions.
        log: receives a line about each stage that is skipped, continued or made again.
        mesh: the processes that do this together: the first decides, and keeps the record; None for one alone.

    Raises:
        DiskFullError: no room; the stages before stay valid.
        MonosemaError: whatever a stage refuses.
    """
    mesh, ledger = mesh or Mesh(), Ledger(folder)
    for stage in needed(stages, until):
        if not mesh.by_first(partial(_is_due, stage, ledger, inputs[stage.name], ctx, log)):
            continue
        make = partial(_make, stage, ledger, inputs[stage.name], ctx)
        if not stage.shared:
            mesh.by_first(make)
        elif mesh.first:
            make()
        else:
            stage.work(ctx)


def _is_due(stage: Stage, ledger: Ledger, inputs: str, ctx: Any, log: Log) -> bool:
    """Whether a stage is still to be made; then what it can't go on from is removed."""
    record = ledger.records().get(stage.name)
    if record is not None and record.inputs == inputs:
        damage = _damage(stage, ledger, record, ctx) if record.state == "done" else []
        if record.state == "done" and not damage:
            log(f"{stage.name}: done before{_counted(record.counts)}")
            return False
        log(f"{stage.name}: {'; '.join(damage)}: making it again" if damage else f"{stage.name}: going on")
        if not stage.resumes:
            _remove(stage.outputs(ctx))
    elif record is not None:
        log(f"{stage.name}: its inputs changed: making it again")
        if not stage.replaces:
            _remove(stage.outputs(ctx))
    return True


def _damage(stage: Stage, ledger: Ledger, record: StageRecord, ctx: Any) -> list[str]:
    found = ledger.damage(record) if stage.damage is None else stage.damage(ctx)
    return found or (stage.stale(ctx, record) if stage.stale else [])


def _make(stage: Stage, ledger: Ledger, inputs: str, ctx: Any) -> None:
    ledger.write(stage.name, StageRecord("running", inputs, versions=versions()))
    start = time.perf_counter()
    try:
        counts = dict(stage.work(ctx))
    except Exception as error:
        if is_disk_full(error) and not isinstance(error, DiskFullError):
            raise DiskFullError(
                f"No room left on the disk while the stage {stage.name} wrote into {ledger.folder} ({error}). "
                "What was finished before is intact: make room and run the same command again."
            ) from error
        raise
    outputs = ledger.measure(stage.outputs(ctx)) if stage.damage is None else {}
    seconds = time.perf_counter() - start
    ledger.write(stage.name, StageRecord("done", inputs, seconds, counts, versions(), outputs))


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _counted(counts: Mapping[str, Any]) -> str:
    numbers = {name: value for name, value in counts.items() if isinstance(value, int)}
    return f" ({', '.join(f'{value:,} {name}' for name, value in numbers.items())})" if numbers else ""
