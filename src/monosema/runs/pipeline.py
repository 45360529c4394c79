"""Stages of a run: what is done is skipped, what was begun goes on, the rest is made.

RUN/stages.json records of every stage its state, the inputs that it was made from (keys of the recipe with their
values, digests of the model, the text and the stages before, the version of its code) and the files that it wrote. So
a stage that is made again names the input that changed. A stage from outside is one line: `register_stage(Stage(…))`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from monosema.core import ConfigError, DiskFullError, Log, digest, nearest
from monosema.core.files import is_disk_full
from monosema.runs.context import RunContext
from monosema.runs.ledger import Inputs, Ledger, StageRecord, versions
from monosema.runs.overrides import flatten
from monosema.runs.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: as in stages.json and on the command line.
        make: makes the outputs; returns counts worth keeping.
        writes: the files or folders that it makes.
        needs: stages whose results it reads.
        reads: keys or sections of the recipe that its result depends on.
        version: raised when the code makes another result from the same inputs.
        resumes: goes on from half-made outputs, and mends damaged ones; else they are removed first.
        replaces: itself replaces outputs made from other inputs, and keeps what people added to them; else they are
            removed first.
        shared: all processes of a run make it together; else the first makes it, and the others wait.
        facts: digests, by name, of what it reads besides, as it is now, such as labels that people added.
        given: True for stages of runs whose dictionary is given, False of those that train theirs, None of both.
        damage: names what is wrong with finished outputs that may change afterwards and keep their own checksums; None
            for outputs that must stay as they were made.
    """

    name: str
    make: Callable[[RunContext], Mapping[str, Any]]
    writes: Callable[[RunContext], Sequence[Path]]
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    version: int = 1
    resumes: bool = False
    replaces: bool = False
    shared: bool = False
    facts: Callable[[RunContext], Mapping[str, str]] | None = None
    given: bool | None = None
    damage: Callable[[RunContext], list[str]] | None = None


STAGES: list[Stage] = []
"""All stages, each after those that it needs."""


def register_stage(stage: Stage) -> None:
    """Put a stage behind those that are known; `run` makes it after them.

    Raises:
        ConfigError: its name is taken, or it needs a stage or reads a key that does not exist.
    """
    names = [known.name for known in STAGES]
    if stage.name in names:
        raise ConfigError(f"There is a stage {stage.name!r} already. Give yours another name.")
    for kind, wanted, known in (("stage", stage.needs, names), ("key", stage.reads, list(Recipe.model_fields))):
        for name in wanted:
            if name not in known:
                raise ConfigError(
                    f"The stage {stage.name!r} asks for the {kind} {name!r}, which does not exist."
                    f"{nearest(name, known)} There are: {', '.join(known)}."
                )
    STAGES.append(stage)


def stages_of(recipe: Recipe, stages: Sequence[Stage] = STAGES) -> list[Stage]:
    """Return the stages that a recipe has: without those that make a dictionary, where it gives one."""
    return [stage for stage in stages if stage.given is None or stage.given == (recipe.given is not None)]


def needed(stages: Sequence[Stage], until: str | None) -> list[Stage]:
    """Return the stage `until` and all that it needs, in order; all stages where it is None.

    Raises:
        ConfigError: no such stage.
    """
    names = [stage.name for stage in stages]
    if until is None:
        return list(stages)
    if until not in names:
        known = until in [stage.name for stage in STAGES]
        why = " in a run whose dictionary is given: it has nothing to learn" if known else ""
        hint = "" if known else nearest(until, names)
        raise ConfigError(f"There is no stage {until!r}{why}.{hint} The stages are: {', '.join(names)}.")
    wanted = {until}
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [stage for stage in stages if stage.name in wanted]


def inputs_of(stage: Stage, recipe: Recipe, sources: Mapping[str, str], before: Mapping[str, str]) -> Inputs:
    """Return what a stage's result depends on, but for its facts.

    Args:
        sources: digests of the model and the text, by name.
        before: digest of the inputs of each stage that it needs, as far as the run has it.
    """
    values = recipe.to_dict()
    own = {"the code of the stage": f"version {stage.version}"}
    return {
        "recipe": flatten({key: values[key] for key in stage.reads if key in values}),
        "digests": {**sources, **own, **{name: before[name] for name in stage.needs if name in before}},
    }


def changes(old: Inputs | str, new: Inputs) -> list[str]:
    """Name the inputs that differ, keys of the recipe with both values; empty where none does."""
    if isinstance(old, str):
        return ["its inputs changed since an earlier version of monosema made it"]
    said = []
    for part in ("recipe", "digests"):
        before, now = old[part], new[part]
        for name in (name for name in {**before, **now} if before.get(name) != now.get(name)):
            values = f" from {_shown(before.get(name))} to {_shown(now.get(name))}" if part == "recipe" else ""
            said.append(f"{name} changed{values}")
    return said


def reasons(stage: Stage, record: StageRecord, inputs: Inputs, ctx: RunContext) -> list[str]:
    """Say why a stage is to be made again: inputs that changed, or damage to outputs that were finished."""
    changed = changes(record.inputs, inputs)
    if changed or record.state != "done":
        return changed
    return Ledger(ctx.folder).damage(record) if stage.damage is None else stage.damage(ctx)


def is_up_to_date(stage: Stage, inputs: Inputs, ctx: RunContext) -> bool:
    """True if the stage is done, its inputs are unchanged and its outputs intact."""
    record = Ledger(ctx.folder).records().get(stage.name)
    return record is not None and record.state == "done" and not reasons(stage, record, inputs, ctx)


def discard_outputs(stage: Stage, ctx: RunContext) -> None:
    """Delete what the stage wrote."""
    for path in stage.writes(ctx):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def advance(
    ctx: RunContext, until: str | None = None, log: Log = lambda line: None, stages: Sequence[Stage] = STAGES
) -> None:
    """Bring the run to where the stage `until` is done.

    Args:
        ctx: handed to the stages' functions; of its processes the first decides, and keeps the record.
        until: the last stage to make; None makes all.
        log: receives a line about each stage that is skipped, continued or made again.
        stages: all of them, each after those that it needs.

    Raises:
        ConfigError: no such stage.
        DiskFullError: no room; the stages before stay valid.
        MonosemaError: whatever a stage refuses.
    """
    digests: dict[str, str] = {}
    for stage in needed(stages_of(ctx.recipe, stages), until):
        inputs = ctx.mesh.by_first(partial(_begin, stage, ctx, digests, log))
        if inputs is None:
            continue
        make = partial(_make, stage, ctx, inputs)
        if not stage.shared:
            ctx.mesh.by_first(make)
        elif ctx.mesh.first:
            make()
        else:
            stage.make(ctx)


def _begin(stage: Stage, ctx: RunContext, digests: dict[str, str], log: Log) -> Inputs | None:
    """Clear the way for a stage that is to be made, and return its inputs, their digest put to the others'; None where
    it is up to date."""
    inputs = inputs_of(stage, ctx.recipe, ctx.sources, digests)
    digests[stage.name] = digest(inputs)
    if stage.facts is not None:
        inputs = {**inputs, "digests": {**inputs["digests"], **stage.facts(ctx)}}
    record = Ledger(ctx.folder).records().get(stage.name)
    if record is None:
        return inputs
    why = reasons(stage, record, inputs, ctx)
    if record.state == "done" and not why:
        log(f"{stage.name}: done before{_counted(record.counts)}")
        return None
    log(f"{stage.name}: made again, because {', '.join(why)}" if why else f"{stage.name}: going on")
    if not (stage.replaces if changes(record.inputs, inputs) else stage.resumes):
        discard_outputs(stage, ctx)
    return inputs


def _make(stage: Stage, ctx: RunContext, inputs: Inputs) -> None:
    ledger = Ledger(ctx.folder)
    ledger.write(stage.name, StageRecord("running", inputs, versions=versions()))
    start = time.perf_counter()
    try:
        counts = dict(stage.make(ctx))
    except Exception as error:
        if is_disk_full(error) and not isinstance(error, DiskFullError):
            raise DiskFullError(
                f"No room left on the disk while the stage {stage.name} wrote into {ctx.folder} ({error}). "
                "What was finished before is intact: make room and run the same command again."
            ) from error
        raise
    outputs = ledger.measure(stage.writes(ctx)) if stage.damage is None else {}
    ledger.write(stage.name, StageRecord("done", inputs, time.perf_counter() - start, counts, versions(), outputs))


def upgrade(folder: Path, recipe: Recipe, written: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Give entries that an earlier version wrote, with one digest of all inputs, their inputs one by one, where the
    recipe in the folder explains the digest; others stay, and their stages are made again.

    Args:
        recipe: the one in the folder.
        written: the same as its file has it; the digest was of these values.
        sources: see `inputs_of`.
    """
    ledger, old, new = Ledger(folder), dict[str, str](), dict[str, str]()
    records = ledger.records()
    if not any(isinstance(record.inputs, str) for record in records.values()):
        return
    for stage in stages_of(recipe, STAGES):
        old[stage.name] = digest(
            {
                "stage": [stage.name, stage.version],
                "recipe": {key: written[key] for key in stage.reads if key in written},
                "needs": [old[name] for name in stage.needs if name in old],
                "sources": dict(zip(("model", "corpus"), sources.values(), strict=True)),
            }
        )
        inputs = inputs_of(stage, recipe, sources, new)
        new[stage.name] = digest(inputs)
        record = records.get(stage.name)
        if record is not None and record.inputs == old[stage.name]:
            ledger.write(stage.name, replace(record, inputs=inputs))


def _counted(counts: Mapping[str, Any]) -> str:
    numbers = {name: value for name, value in counts.items() if isinstance(value, int)}
    return f" ({', '.join(f'{value:,} {name}' for name, value in numbers.items())})" if numbers else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)
