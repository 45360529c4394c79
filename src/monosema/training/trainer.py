"""The trainer: one loop for every architecture, and for any number of dictionaries at once.

A dictionary gives its forward pass, its loss terms and its constraint; a stream gives batches; a `TrainingRun` makes
steps of both. The loop, checkpoints, resume, and what happens when something goes wrong are here and nowhere else.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations import ActivationStream
from monosema.core import (
    AnomalyError,
    Progress,
    RunError,
    SilentProgress,
    Site,
    VectorError,
    digest,
    give_back_free_memory,
)
from monosema.dictionaries import Losses, Trainable
from monosema.training.anomalies import Anomaly
from monosema.training.checkpoint import Checkpoint, Checkpoints, RunState
from monosema.training.config import TrainConfig, TrainResult
from monosema.training.distribution import Mesh
from monosema.training.finished import finished_before
from monosema.training.interrupts import waiting_interrupts
from monosema.training.memory import PeakMemory
from monosema.training.objective import Objective
from monosema.training.sharded_step import losses_of_batch
from monosema.training.tracking import Tracker, trackers_of
from monosema.training.training_run import TrainingRun

VECTORS = Site(None, "vectors")
"""The site of rows of unknown origin."""


def train(
    dictionary: Trainable,
    stream: ActivationStream,
    config: TrainConfig,
    out: Path,
    *,
    heldout: Float[Tensor, "n row_width"] | None = None,
    progress: Progress | None = None,
    trackers: Sequence[Tracker] = (),
    mesh: Mesh | None = None,
    update: bool = False,
    objective: Objective | None = None,
) -> TrainResult:
    """Train a dictionary on all batches of a stream, and save it.

    A run that was interrupted goes on from its newest checkpoint; on a CPU with the same number of threads the result
    is equal, to the last bit, to that of a run without interruption. One that has ended gives its result again.

    Args:
        stream: batches in training units; its ``preprocessing`` is folded into what is saved.
        out: receives cfg.json, sae_weights.safetensors, metrics.jsonl, training.json, and checkpoint/ meanwhile.
        heldout: rows in the model's units, never trained on.
        trackers: receive the metrics that go to metrics.jsonl.
        mesh: the processes that share the work (`Mesh.join`); None for this one alone.
        objective: the loss, and what a row of the stream is; None is reconstruction of rows that are vectors.
        update: let this dictionary replace another one, or the checkpoint of another, that `out` holds.

    Raises:
        VectorError: the stream's width, or its site, is not the dictionary's.
        RunError: `out` holds a finished dictionary, or a checkpoint, of another recipe or other vectors.
        AnomalyError: NaN, an exploding loss or norm, or only dead latents; names the step and the last checkpoint.
        DiskFullError: what was saved before is intact.
    """
    run = TrainingRun(dictionary, config, out, heldout=heldout, objective=objective)
    trainer = Trainer([run], [stream], config, out, progress, trackers, mesh)

    def done() -> TrainResult | None:
        found = finished_before(Path(out), run.recipe, trainer.beginnings[0], update)
        if update and (checkpoint := trainer.checkpoints.newest()) is not None and checkpoint.recipe != trainer.recipe:
            trainer.checkpoints.clear()
        return found

    before = trainer.mesh.by_first(done)
    if before is not None:
        return before
    (result,) = trainer.run()
    if result is None:
        raise AnomalyError(run.stopped)
    return result


class Trainer:
    """One run: `begin`, then `step` with every batch, then `finish`; `run` does all of it.

    Attributes:
        runs: the dictionaries in training.
        step_number: steps that are done.
        steps: steps in all.
        batch: rows in a step of each stream.
        vectors: vectors in a step of each run.
    """

    def __init__(
        self,
        runs: Sequence[TrainingRun],
        streams: Sequence[ActivationStream],
        config: TrainConfig,
        out: Path,
        progress: Progress | None = None,
        trackers: Sequence[Tracker] = (),
        mesh: Mesh | None = None,
    ) -> None:
        """Prepare to train.

        Args:
            runs: dictionaries to train; each says which of the streams it learns from.
            streams: they give their batches together, so that all runs see the same tokens.
            config: how often to record and to write checkpoints.
            out: receives checkpoint/.
            mesh: the processes that share the work; the first of them keeps the record and writes.

        Raises VectorError where widths or sites differ, RunError for a stream without end.
        """
        self.runs, self.streams, self.config = list(runs), list(streams), config
        self.mesh = mesh or Mesh()
        self.progress = (progress if self.mesh.first else None) or SilentProgress()
        self.trackers = [*trackers, *trackers_of(config.track, Path(out))] if self.mesh.first else []
        self.steps, self.batch = _length(self.streams)
        self.vectors = self.batch * max(run.objective.row_vectors for run in self.runs)
        for run in self.runs:
            _require_fit(run, self.streams[run.stream])
            run.prepare(self.steps, self.batch, self.mesh)
        self.checkpoints = Checkpoints(Path(out) / "checkpoint", config.keep)
        self.recipe = digest([run.recipe for run in self.runs])
        self.beginnings = [digest(stream.state_dict()) for stream in self.streams]
        self.step_number = 0
        self.memory = PeakMemory(self.runs[0].device)

    @property
    def living(self) -> list[TrainingRun]:
        """Members that go on."""
        return [run for run in self.runs if run.stopped is None]

    def run(self) -> list[TrainResult | None]:
        """Train to the end, or from the newest checkpoint to the end.

        Returns:
            For each run its result; None for one that was stopped, which says why (`TrainingRun.stopped`).

        Raises:
            AnomalyError: all runs were stopped.
            KeyboardInterrupt: Ctrl-C, or SIGINT; one process alone writes a checkpoint before.
        """
        self.begin()
        with waiting_interrupts(self.mesh.alone) as interrupted:
            return self._train(interrupted)

    def _train(self, interrupted: Callable[[], bool]) -> list[TrainResult | None]:
        saved_at = time.monotonic()
        try:
            for batches in zip(*self.streams, strict=True):
                losses = self.step(*batches)
                self.progress.advance(self.vectors)
                recording = self.step_number % self.config.log_every == 0 or self.step_number == self.steps
                due = self._due(saved_at, recording)
                if due or recording:
                    losses = [None if one is None else losses_of_batch(self.mesh, one) for one in losses]
                    self._watch(losses, batches)
                if recording:
                    self._record(losses)
                if due or interrupted():
                    self._save()
                    saved_at = time.monotonic()
                if interrupted():
                    raise KeyboardInterrupt
            return self._finish()
        finally:
            for run in self.runs:
                run.close()
            for tracker in self.trackers:
                tracker.close()

    def begin(self) -> None:
        """Start from the newest checkpoint, or from data."""
        checkpoint = self.checkpoints.newest()
        if checkpoint is None:
            self._start()
            facts = [RunState() for _ in self.runs]
        else:
            self._restore(checkpoint)
            facts = checkpoint.runs
        for run, its_facts in zip(self.runs, facts, strict=True):
            run.open(its_facts)
        give_back_free_memory()

    def _start(self) -> None:
        """Initialise dictionaries from their stream's first rows, then rewind the streams."""
        for number, stream in enumerate(self.streams):
            beginning = stream.state_dict()
            wanted = -(-self.config.start_rows // self.vectors)
            sample = torch.cat(list(itertools.islice(stream, min(wanted, self.steps))))
            stream.load_state_dict(beginning)
            for run in self.runs:
                if run.stream == number:
                    run.start(sample.to(run.device))

    def step(self, *batches: Float[Tensor, "n row_width"]) -> list[Losses | None]:
        """Make a step of every run that goes on, on the batch of its stream; None for the others."""
        moved = [batch.to(self.runs[0].device) for batch in batches]
        losses: list[Losses | None] = []
        for run in self.runs:
            losses.append(run.step(moved[run.stream]) if run.stopped is None else None)
        self.step_number += 1
        return losses

    def _record(self, losses: Sequence[Losses | None]) -> None:
        for run, its_losses in zip(self.runs, losses, strict=True):
            if run.stopped is None and its_losses is not None:
                metrics = run.record(its_losses)
                self.progress.note(**{name: metrics[name] for name in ("fvu", "l0", "dead")})
                for tracker in self.trackers:
                    tracker.record(run.name, metrics)

    # ---------------------------------------------------------------------------------------------------- anomalies

    def _watch(self, losses: Sequence[Losses | None], batches: Sequence[Float[Tensor, "n row_width"]]) -> None:
        """Stop runs that went wrong; the others go on. Raises AnomalyError where none is left."""
        for number, (run, its_losses) in enumerate(zip(self.runs, losses, strict=True)):
            if run.stopped is None and its_losses is not None:
                found = run.anomaly(its_losses, batches[run.stream])
                if found is not None:
                    self._stop(number, found)
        if not self.living:
            raise AnomalyError(" ".join(str(run.stopped) for run in self.runs))

    def _stop(self, number: int, found: Anomaly) -> None:
        run = self.runs[number]
        kept = self._last_good(number)
        where = f"The last good checkpoint is {kept}." if kept else "There is no checkpoint yet."
        who = f" of {run.name}" if run.name else ""
        rate = f"Lower the learning rate (now {run.peak_lr:.3g} at its peak), or look at the vectors"
        run.stopped = (
            f"Training{who} stopped at step {self.step_number} of {self.steps}: {found.reason}. {where} "
            f"{found.advice or rate}."
        )

    def _last_good(self, number: int) -> Path | None:
        """Return the newest checkpoint; beside other runs, whose checkpoints go on, a copy of this run's part."""
        kept = self.checkpoints.paths()
        if not kept or len(self.runs) == 1 or not self.mesh.first:
            return kept[-1] if kept else None
        checkpoint = self.checkpoints.newest()
        if checkpoint is None:
            return None
        run = self.runs[number]
        alone = checkpoint.alone(number, run.stream, digest([run.recipe]))
        return Checkpoints(run.out / "checkpoint", 1).save(alone)

    # -------------------------------------------------------------------------------------------------- checkpoints

    def _save(self) -> None:
        """Write a checkpoint; all processes give what they hold."""
        checkpoint = self._checkpoint()
        if self.mesh.first:
            self.checkpoints.save(checkpoint)

    def _due(self, saved_at: float, recording: bool) -> bool:
        if self.step_number >= self.steps:
            return False
        if self.config.checkpoint_steps is not None:
            return self.step_number % self.config.checkpoint_steps == 0
        late = time.monotonic() - saved_at >= self.config.checkpoint_seconds
        # Processes agree by the first one's clock, and seldom, since each time they wait for each other.
        return late if self.mesh.alone else recording and self.mesh.agreed(late)

    def _checkpoint(self) -> Checkpoint:
        tensors = {
            f"{number}.{name}": tensor
            for number, run in enumerate(self.runs)
            if run.stopped is None
            for name, tensor in run.tensors().items()
        }
        streams = [stream.state_dict() for stream in self.streams]
        return Checkpoint(self.step_number, self.recipe, streams, [run.facts() for run in self.runs], tensors)

    def _restore(self, checkpoint: Checkpoint) -> None:
        if checkpoint.recipe != self.recipe:
            raise RunError(
                f"{self.checkpoints.folder} holds a checkpoint of another recipe (step {checkpoint.step}). "
                "Give the recipe it was made with, another folder, or remove the checkpoint to begin anew."
            )
        for number, (run, facts) in enumerate(zip(self.runs, checkpoint.runs, strict=True)):
            if facts.stopped is None:
                run.restore(checkpoint.step, checkpoint.tensors_of(number))
        for stream, state in zip(self.streams, checkpoint.streams, strict=True):
            stream.load_state_dict(state)
        self.step_number = checkpoint.step
        self.progress.advance(self.step_number * self.vectors)

    def _finish(self) -> list[TrainResult | None]:
        results = []
        for run in self.runs:
            preprocessing = getattr(self.streams[run.stream], "preprocessing", None)
            vectors = self.beginnings[run.stream]
            results.append(run.finish(preprocessing, self.memory, vectors) if run.stopped is None else None)
        if self.mesh.first:
            self.checkpoints.clear()
        return results


def _length(streams: Sequence[ActivationStream]) -> tuple[int, int]:
    """Return steps, and rows of a step. Raise RunError where a stream does not know them, or two streams differ."""
    shapes = {(stream.batches, stream.batch) for stream in streams}
    if any(batches is None for batches, _ in shapes):
        raise RunError("The stream does not say how many batches it has; the learning rate's course needs that.")
    if len(shapes) > 1:
        said = ", ".join(f"{batches} batches of {batch} rows" for batches, batch in sorted(shapes, key=str))
        raise RunError(f"The streams of one run must give equal batches, but they have {said}.")
    ((batches, batch),) = shapes
    return batches or 0, batch


def _require_fit(run: TrainingRun, stream: ActivationStream) -> None:
    own, given, width = (
        run.dictionary.metadata.site,
        getattr(stream, "site", None),
        run.objective.row_width(run.dictionary),
    )
    of_own, of_given = (f" of {site.short}" if site is not None else "" for site in (own, given))
    if stream.d_in != width:
        raise VectorError(
            f"The vectors{of_given} have width {stream.d_in}, but the dictionary{of_own} takes width "
            f"{width}. Make the dictionary for width {stream.d_in}, or give vectors of its site."
        )
    if own is not None and given not in (None, VECTORS, own):
        raise VectorError(
            f"The vectors are those{of_given}, but the dictionary is{of_own}. Give it vectors of its own site."
        )
