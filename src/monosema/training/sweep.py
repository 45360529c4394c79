"""Sweeps: many dictionaries from one pass over the data, and what they trade for what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monosema.activations import ActivationStream
from monosema.core import ConfigError, Progress, RunError, digest, read_json, write_json
from monosema.training.config import TrainConfig, TrainResult
from monosema.training.distribution import Mesh
from monosema.training.member import Member
from monosema.training.tracking import Tracker
from monosema.training.trainer import Trainer


@dataclass(frozen=True)
class SweepMember:
    """What came of one dictionary of a sweep.

    Attributes:
        name: its folder in the sweep's.
        settings: what was chosen for it, by key.
        fvu: share of variance left unexplained: of held-out rows, or the running mean in training where there are none.
        l0: active latents per held-out row; None without held-out rows.
        alive: share of latents active on at least one held-out row; None likewise.
        terms: parts of the loss, as recorded last.
        stopped: why it was stopped; None where it was trained to the end. Its figures are absent then.
    """

    name: str
    settings: dict[str, Any]
    fvu: float | None
    l0: float | None
    alive: float | None
    terms: dict[str, float]
    stopped: str | None


@dataclass(frozen=True)
class SweepResult:
    """What came of a sweep.

    Attributes:
        members: its dictionaries, in the order they were asked for.
        best: name of the one at the knee of the trade-off (see `knee`); None where none was trained to the end.
        held_out: rows that figures were measured on; 0 where these are from training.
        steps: steps of each member.
        step_ms: mean milliseconds of a step of all members together; None if none was made in this process.
        recipe: digest of all that decides the result.
    """

    members: tuple[SweepMember, ...]
    best: str | None
    held_out: int
    steps: int
    step_ms: float | None
    recipe: str

    @property
    def stopped(self) -> list[str]:
        """Why members were stopped, for each that was."""
        return [member.stopped for member in self.members if member.stopped is not None]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SweepResult:
        """From what `to_dict` gave."""
        members = tuple(SweepMember(**member) for member in values["members"])
        return cls(**{**values, "members": members})


def train_sweep(
    members: Sequence[Member],
    settings: Sequence[Mapping[str, Any]],
    streams: Sequence[ActivationStream],
    config: TrainConfig,
    out: Path,
    *,
    progress: Progress | None = None,
    trackers: Sequence[Tracker] = (),
    mesh: Mesh | None = None,
) -> SweepResult:
    """Train several dictionaries at once, each as it would be trained alone, and write sweep.json.

    A member that goes wrong is stopped by itself, and the others go on. What was interrupted goes on as for `train`.
    Several processes share every member's work as they share a single dictionary's.

    Args:
        settings: what was chosen for each member.
        streams: one for each site; a member says which is its own.
        config: how often to record and to write checkpoints.
        mesh: the processes that share the work; None for this one alone.

    Raises:
        ConfigError: no member, or two of the same name.
        AnomalyError: all members were stopped.
        RunError: the folder holds another sweep.
        VectorError, DiskFullError: as for `train`.
    """
    names = [member.name for member in members]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"A sweep needs members of different names, but has: {', '.join(names) or 'none'}.")
    trainer = Trainer(members, streams, config, out, progress, trackers, mesh)
    path, recipe = Path(out) / "sweep.json", digest([trainer.recipe, *(stream.state_dict() for stream in streams)])
    before = trainer.mesh.by_first(lambda: _made_before(path, recipe))
    if before is not None:
        return before
    results = trainer.run()

    def written() -> SweepResult:
        """The first process alone has measured the members on held-out rows."""
        sweep = _result(members, settings, results, trainer.steps, recipe)
        write_json(path, sweep.to_dict())
        return sweep

    return trainer.mesh.by_first(written)


def _result(
    members: Sequence[Member],
    settings: Sequence[Mapping[str, Any]],
    results: Sequence[TrainResult | None],
    steps: int,
    recipe: str,
) -> SweepResult:
    found = tuple(
        _outcome(member, dict(chosen), result)
        for member, chosen, result in zip(members, settings, results, strict=True)
    )
    seconds = sum(sum(member.durations) for member in members)
    timed = max(len(member.durations) for member in members)
    return SweepResult(
        members=found,
        best=knee(found),
        held_out=min(0 if member.heldout is None else len(member.heldout) for member in members),
        steps=steps,
        step_ms=1e3 * seconds / timed if timed else None,
        recipe=recipe,
    )


def _made_before(path: Path, recipe: str) -> SweepResult | None:
    """The result of the same sweep, where it is done."""
    if not path.exists():
        return None
    result = SweepResult.from_dict(read_json(path))
    if result.recipe != recipe:
        raise RunError(
            f"{path.parent} holds another sweep ({', '.join(member.name for member in result.members)}), of another "
            "recipe or other vectors. Choose another folder with --out, or replace it with --update."
        )
    return result


def _outcome(member: Member, settings: dict[str, Any], result: TrainResult | None) -> SweepMember:
    if result is None:
        return SweepMember(member.name, settings, None, None, None, {}, member.stopped)
    fvu = result.held_out_fvu if result.held_out_fvu is not None else result.training_fvu
    return SweepMember(member.name, settings, fvu, result.l0, result.alive, result.terms, None)


def front(members: Sequence[SweepMember]) -> list[SweepMember]:
    """Members that no other betters in both FVU and L0, by rising L0."""
    known = [m for m in members if m.fvu is not None and m.l0 is not None]
    known.sort(key=lambda m: (m.l0 or 0.0, m.fvu or 0.0))
    kept: list[SweepMember] = []
    for member in known:
        if not kept or (member.fvu or 0.0) < (kept[-1].fvu or 0.0):
            kept.append(member)
    return kept


def knee(members: Sequence[SweepMember]) -> str | None:
    """Name of the member at the knee of the trade-off between FVU and L0.

    With both on logarithmic scales brought to 0…1 between the ends of the front, the knee is the point farthest below
    the line between the ends (Satopää et al. 2011, "Kneedle"). A front of fewer than three points, or with none below
    that line, has no knee: there it is the lowest FVU. None where no member has an FVU.
    """
    best = front(members)
    known = [m for m in members if m.fvu is not None]
    lowest = min(known, key=lambda m: m.fvu or 0.0).name if known else None
    if len(best) < 3 or not all(m.fvu and m.l0 for m in best):
        return lowest
    places = [(math.log(m.l0 or 1.0), math.log(m.fvu or 1.0)) for m in best]
    (x0, y0), (x1, y1) = places[0], places[-1]
    below = [(1 - (x - x0) / (x1 - x0)) - (y - y1) / (y0 - y1) for x, y in places]
    return best[below.index(max(below))].name if max(below[1:-1]) > 0 else lowest
