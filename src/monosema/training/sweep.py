"""Sweeps: many dictionaries from one pass over the data, and their trade-off between FVU and L0."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from monosema.activations import ActivationStream
from monosema.core import ConfigError, Progress, RunError, digest, read_json, write_json
from monosema.training.config import TrainConfig, TrainResult
from monosema.training.distribution import Mesh
from monosema.training.tracking import Tracker
from monosema.training.trainer import Trainer
from monosema.training.training_run import TrainingRun

EQUAL = 1.05
"""Factor up to which an L0 counts as the same: targets are reached within a few per cent."""


@dataclass(frozen=True)
class Trial:
    """Result of one dictionary of a sweep.

    Attributes:
        name: its folder in the sweep's.
        settings: the values chosen for it, by key.
        fvu: share of variance left unexplained: of held-out rows, or the running mean in training where there are none.
        l0: active latents per held-out row; None without held-out rows.
        alive: share of latents active on at least one held-out row; None likewise.
        terms: parts of the loss, as recorded last.
        stopped: the reason for which it was stopped, without metrics; None where it was trained to the end.
        coefficient: weight of the sparsity penalty at the end; None where k sets sparsity.
        missed: warning that the target L0 was missed by more than a tenth; None where it wasn't.
    """

    name: str
    settings: dict[str, Any]
    fvu: float | None
    l0: float | None
    alive: float | None
    terms: dict[str, float]
    stopped: str | None
    coefficient: float | None = None
    missed: str | None = None


@dataclass(frozen=True)
class SweepResult:
    """Result of a sweep.

    Attributes:
        trials: its dictionaries, in the order they were asked for.
        held_out: rows that metrics were measured on; 0 where these are from training.
        steps: steps of each trial.
        step_ms: mean milliseconds of a step of all trials together; None if none was made in this process.
        recipe: digest of all that decides the result.
    """

    trials: tuple[Trial, ...]
    held_out: int
    steps: int
    step_ms: float | None
    recipe: str

    @property
    def stopped(self) -> list[str]:
        """Reasons of the trials that were stopped."""
        return [trial.stopped for trial in self.trials if trial.stopped is not None]

    @property
    def front(self) -> list[str]:
        """Names of the trials at whose L0, or below, no other of the same site has a lower FVU; an L0 that is up to 5 %
        higher counts as the same. At another L0, or at another site, FVU says nothing of which is better."""
        of_site: dict[tuple[Any, ...], list[Trial]] = defaultdict(list)
        for trial in self.trials:
            of_site[tuple(trial.settings.get(key) for key in ("site", "output_site"))].append(trial)
        return [trial.name for there in of_site.values() for trial in _front(there)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; trials stand under "members"."""
        values = asdict(self)
        return {"members": values.pop("trials"), "front": self.front, **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SweepResult:
        """Read what `to_dict` gave."""
        trials = tuple(Trial(**trial) for trial in values["members"])
        rest = [one.name for one in fields(cls) if one.name != "trials"]
        return cls(trials, **{name: values[name] for name in rest})


def train_sweep(
    trials: Sequence[TrainingRun],
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

    A trial that goes wrong is stopped by itself, and the others go on. An interrupted sweep goes on as for `train`.
    Several processes share every trial's work as they share a single dictionary's.

    Args:
        settings: the values chosen for each trial.
        streams: one for each site; a trial says which is its own.
        config: how often to record and to write checkpoints.
        mesh: the processes that share the work; None for this one alone.

    Raises:
        ConfigError: no trial, or two of the same name.
        AnomalyError: all trials were stopped.
        RunError: the folder holds another sweep.
        VectorError, DiskFullError: as for `train`.
    """
    names = [trial.name for trial in trials]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"A sweep needs trials of different names, but has: {', '.join(names) or 'none'}.")
    trainer = Trainer(trials, streams, config, out, progress, trackers, mesh)
    path, recipe = Path(out) / "sweep.json", digest([trainer.recipe, *(stream.state_dict() for stream in streams)])
    before = trainer.mesh.by_first(lambda: _made_before(path, recipe))
    if before is not None:
        return before
    results = trainer.run()

    def written() -> SweepResult:
        """Write sweep.json; the first process alone has measured the trials on held-out rows."""
        sweep = _result(trials, settings, results, trainer.steps, recipe)
        write_json(path, sweep.to_dict())
        return sweep

    return trainer.mesh.by_first(written)


def _result(
    trials: Sequence[TrainingRun],
    settings: Sequence[Mapping[str, Any]],
    results: Sequence[TrainResult | None],
    steps: int,
    recipe: str,
) -> SweepResult:
    found = tuple(
        _outcome(trial, dict(chosen), result) for trial, chosen, result in zip(trials, settings, results, strict=True)
    )
    seconds = sum(sum(trial.durations) for trial in trials)
    timed = max(len(trial.durations) for trial in trials)
    return SweepResult(
        trials=found,
        held_out=min(0 if trial.heldout is None else len(trial.heldout) for trial in trials),
        steps=steps,
        step_ms=1e3 * seconds / timed if timed else None,
        recipe=recipe,
    )


def _made_before(path: Path, recipe: str) -> SweepResult | None:
    """Return the result of the same sweep, where it is done."""
    if not path.exists():
        return None
    result = SweepResult.from_dict(read_json(path))
    if result.recipe != recipe:
        raise RunError(
            f"{path.parent} holds another sweep ({', '.join(trial.name for trial in result.trials)}), of another "
            "recipe or other vectors. Choose another folder with --out, or replace it with --update."
        )
    return result


def _outcome(trial: TrainingRun, settings: dict[str, Any], result: TrainResult | None) -> Trial:
    if result is None:
        return Trial(trial.name, settings, None, None, None, {}, trial.stopped)
    fvu = result.held_out_fvu if result.held_out_fvu is not None else result.training_fvu
    return Trial(
        trial.name, settings, fvu, result.l0, result.alive, result.terms, None, result.coefficient, result.missed
    )


def _front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that no other betters, by rising L0."""
    known = [(trial.l0, trial.fvu, trial) for trial in trials if trial.l0 is not None and trial.fvu is not None]
    known.sort(key=lambda one: one[:2])
    return [
        trial for l0, fvu, trial in known if not any(lower < fvu and other <= EQUAL * l0 for other, lower, _ in known)
    ]
