"""One dictionary in training: its optimiser, the course of its learning rate, its record.

The trainer feeds it batches; alone, or beside others that see the same batches.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, choose_product, digest, sha256_file, write_json
from monosema.dictionaries import Codes, Losses, StepContext, Trainable, batch_variance, mean_losses, save_dictionary
from monosema.training.anomalies import Anomaly, anomaly
from monosema.training.checkpoint import RunState
from monosema.training.config import TrainConfig, TrainResult
from monosema.training.distribution import Mesh
from monosema.training.finished import FACTS, WEIGHTS
from monosema.training.memory import PeakMemory
from monosema.training.metrics import MetricsFile, held_out_metrics
from monosema.training.objective import Objective, Reconstruction
from monosema.training.optimisers import Optimisers
from monosema.training.schedule import learning_rate, schedule, warm_up_steps
from monosema.training.sharded_dictionary import cut, load_part, shard_of, whole_tensors
from monosema.training.sharded_step import clip, codes_of_batch, require_divisible, rows_of_group, sum_gradients
from monosema.training.target_l0 import TargetL0, missed_target, target_of

UNTIMED = 3
"""Steps at the start of a process that are left out of the median: caches and allocators warm up."""
FULL = 0.9
"""Share of a stretch of the run that counts as all of it where rows are windows: they differ in kept tokens."""
RECENT = 0.9
"""Weight of what was in the running mean of FVU, from record to record."""


class TrainingRun:
    """One dictionary in training.

    Attributes:
        name: its name among the others of a sweep; empty for one alone.
        stream: number of the stream that it learns from.
        step_number: steps that are done.
        batch: vectors in a step.
        peak_lr: largest learning rate.
        warmup: steps of its rise.
        matmul_dtype: precision of the encoder's product.
        durations: seconds of each step in this process.
        stopped: the reason for which it was stopped; None while it goes on.
    """

    def __init__(
        self,
        dictionary: Trainable,
        config: TrainConfig,
        out: Path,
        *,
        name: str = "",
        stream: int = 0,
        heldout: Float[Tensor, "n row_width"] | None = None,
        objective: Objective | None = None,
    ) -> None:
        """`out` receives cfg.json, sae_weights.safetensors, metrics.jsonl and training.json; the objective is
        reconstruction, unless another is given."""
        self.dictionary, self.config, self.out = dictionary, config, Path(out)
        self.whole, self.mesh = dictionary, Mesh()
        self.name, self.stream, self.heldout = name, stream, heldout
        self.objective: Objective = objective or Reconstruction()
        self.device = next(iter(dictionary.parameters())).device
        self.product = _product(config.product, self.device)
        self.step_number = 0
        self.durations: list[float] = []
        self.stopped: str | None = None
        self.running_fvu: float | None = None
        self.terms: dict[str, float] = {}
        self.target: TargetL0 | None = None
        self._metrics: MetricsFile | None = None

    def prepare(self, steps: int, batch: int, mesh: Mesh | None = None) -> None:
        """Make the optimiser for a run of so many steps on batches of so many rows, shared by these processes."""
        self.mesh = mesh or Mesh()
        several = self.objective.row_vectors > 1
        if batch * self.objective.row_vectors < 2:
            raise ConfigError(
                "A batch of one vector has no variance to measure the error against. Take --batch 2 or more; thousands "
                "are usual."
            )
        self.objective.check(self.whole, self.mesh.shards)
        width = self.objective.row_width(self.whole)
        require_divisible(self.mesh, batch, self.whole.n_latents, width, equal=not several)
        if several and self.mesh.groups > 1 and self.config.accumulate > 1:
            raise ConfigError(
                "TrainConfig.accumulate works in one process where rows are windows of tokens. Take 1, as more "
                "processes have smaller parts each."
            )
        if batch // self.mesh.groups % self.config.accumulate:
            raise ConfigError(
                f"TrainConfig.accumulate = {self.config.accumulate} is not valid: a batch of {batch} rows can't be "
                "divided into so many equal parts."
            )
        if self.config.product == "auto":
            # Measured in each process by itself, it could differ.
            faster = (kind for kind in (torch.bfloat16, torch.int8) if self.mesh.agreed(self.product == kind))
            self.product = next(faster, torch.float32)
        self.steps, self.batch = steps, batch * self.objective.row_vectors
        self.whole.require_saveable()
        self.recipe = digest([self.whole.description(), self.config.recipe(), self.steps, self.batch])
        self.target = target_of(self.whole, self.config.target_l0, steps)
        self.peak_lr = self.config.lr or learning_rate(
            self.whole.n_latents, steps, self.config.optimiser, width=self.whole.d_in, active=self.whole.expected_l0
        )
        self.dictionary = shard_of(self.mesh, self.whole)
        self.warmup = warm_up_steps(steps) if self.config.warmup is None else self.config.warmup
        self.optimisers = Optimisers(self.dictionary.parameters(), self.config, self.peak_lr, self.mesh)

    @property
    def context(self) -> StepContext:
        """Context of the step to come."""
        return StepContext(self.step_number, self.steps, self.batch, self.product, self.mesh.grid)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        decay = self.config.decay if self.optimisers.falls else 0.0
        return self.peak_lr * schedule(step, self.steps, self.warmup, decay)

    # --------------------------------------------------------------------------------------------------- one step

    def step(self, batch: Float[Tensor, "n row_width"]) -> Losses:
        """Make one step on one batch."""
        began = time.perf_counter()
        with self.mesh.watching():
            rows = rows_of_group(self.mesh, batch)
            if self.config.accumulate > 1:
                losses = self._in_parts(rows)
            else:
                losses = self.objective.losses(self.dictionary, rows, self.context)
                losses.total.backward()
        sum_gradients(self.mesh, self.optimisers.parameters)
        # What carries the graph is let go of: it would hold a matrix of the batch's size through the update.
        losses = replace(losses, codes=codes_of_batch(self.mesh, losses.codes), error=None, residual=None)
        self._update()
        self._after(batch, losses)
        if self.target is not None:
            self.target.follow(self.step_number, self._l0(losses.codes))
            self._set_coefficient(self.target.coefficient)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.durations.append(time.perf_counter() - began)
        self.step_number += 1
        return losses

    def _in_parts(self, batch: Float[Tensor, "n row_width"]) -> Losses:
        """Return losses of a batch that is worked on part by part, with their gradients in the parameters."""
        number = self.config.accumulate
        targets = self.dictionary.inputs_and_targets(self.objective.vectors(batch))[1]
        variance = batch_variance(targets, self.context) / number
        context, of_parts = replace(self.context, variance=variance), []
        for part in batch.chunk(number):
            losses = self.objective.losses(self.dictionary, part, context)
            (losses.total / number).backward()
            of_parts.append(replace(losses, total=losses.total.detach()))
        return mean_losses(of_parts)

    def _update(self) -> None:
        """Make the optimiser's step and restore the constraint."""
        self.dictionary.project_gradients()
        if self.config.clip is not None:
            clip(self.mesh, self.optimisers.parameters, self.config.clip, self.dictionary.n_latents)
        self.optimisers.step(self.rate(self.step_number))
        self.dictionary.constrain()
        self.optimisers.clear()

    def _after(self, batch: Float[Tensor, "n row_width"], losses: Losses) -> None:
        """Count who was active, and start dead latents anew."""
        context = self.context
        with self.mesh.watching():
            self.dictionary.observe(losses.codes, context)
            if not self.dictionary.restarts_at(context):
                return
            if self.objective.row_vectors > 1:
                context = replace(context, batch=max(1, int(FULL * context.batch)))
            restarted = self.dictionary.resample(self.objective.vectors(batch), context)
        self.optimisers.forget(restarted, self.dictionary.n_latents)

    def _l0(self, codes: Codes) -> float:
        """Return active latents a row, of the whole batch and all latents."""
        active = (codes.values != 0).sum() / max(1, len(codes))
        with self.mesh.watching():
            return float(self.mesh.sum_over_latents(active))

    def _set_coefficient(self, value: float) -> None:
        """Set the coefficient of the part that is trained here, and of the whole that is saved."""
        self.dictionary.coefficient = self.whole.coefficient = value

    # ------------------------------------------------------------------------------------------------- its record

    def open(self, facts: RunState) -> None:
        """Open metrics.jsonl, cut back to the checkpoint."""
        self.running_fvu, self.stopped = facts.fvu, facts.stopped
        if self.target is not None and facts.target is not None:
            self.target.level, self.target.error = facts.target
            self._set_coefficient(self.target.coefficient)
        if self.mesh.first:
            self._metrics = MetricsFile(self.out / "metrics.jsonl", facts.metrics_bytes)

    def close(self) -> None:
        """Close metrics.jsonl."""
        if self._metrics is not None:
            self._metrics.close()

    def anomaly(self, losses: Losses, batch: Float[Tensor, "n row_width"]) -> Anomaly | None:
        """Return the reason to stop, by the losses of this batch; None where all is well."""
        found = anomaly(losses, self.dictionary, batch if self.objective.row_vectors == 1 else None)
        return Anomaly("another process saw an anomaly") if self.mesh.any(found is not None) and not found else found

    def record(self, losses: Losses) -> dict[str, float | int]:
        """Append a line to metrics.jsonl and return its metrics."""
        fvu = float(losses.fvu)
        self.running_fvu = fvu if self.running_fvu is None else RECENT * self.running_fvu + (1 - RECENT) * fvu
        self.terms = {name: float(term) for name, term in losses.terms.items()}
        metrics: dict[str, float | int] = {
            "step": self.step_number,
            "tokens": self.step_number * self.batch,
            "fvu": fvu,
            "l0": float(losses.codes.l0.mean()),
            "dead": self.mesh.mean(len(self.dictionary.dead(self.context)) / self.dictionary.n_latents),
            "lr": self.rate(self.step_number - 1),
            "step_ms": 1e3 * statistics.median(self.durations[-self.config.log_every :]),
            **{f"loss_{name}": term for name, term in self.terms.items()},
        }
        if self.target is not None:
            metrics["coefficient"] = self.target.coefficient
        if self._metrics is not None:
            self._metrics.write(**metrics)
        return metrics

    # ---------------------------------------------------------------------------------------- checkpoints, the end

    def facts(self) -> RunState:
        """Return the state of the run, but for tensors."""
        written = 0 if self._metrics is None else self._metrics.bytes
        target = None if self.target is None else (self.target.level, self.target.error)
        return RunState(written, self.running_fvu, self.stopped, target)

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and counters as ``dictionary.*``, optimiser state as ``optimiser.*``."""
        tensors = {f"dictionary.{name}": tensor for name, tensor in self.dictionary.state_dict().items()}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in self.optimisers.tensors().items()}
        return whole_tensors(self.mesh, tensors, self.dictionary.n_latents)

    def start(self, sample: Float[Tensor, "n row_width"]) -> None:
        """Initialise the dictionary from a sample of the data."""
        self.whole.start(self.objective.vectors(sample), self.config.seed)
        if self.whole is not self.dictionary:
            load_part(self.mesh, self.dictionary, self.whole.state_dict())
            self._let_go()

    def _let_go(self) -> None:
        """Free the whole dictionary where this process trains a part of it; its shapes stay."""
        whole: Any = self.whole
        whole.to("meta")

    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Load the tensors of a checkpoint."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): tensor for n, tensor in tensors.items() if n.startswith(prefix)}

        load_part(self.mesh, self.dictionary, part("dictionary."))
        shapes = [parameter.shape for parameter in self.optimisers.parameters]
        self.optimisers.restore(
            {
                name: cut(self.mesh, tensor, shapes[int(name.partition(".")[0])]) if tensor.dim() else tensor
                for name, tensor in part("optimiser.").items()
            }
        )
        if self.whole is not self.dictionary:
            self._let_go()
        self.step_number = step

    def finish(self, preprocessing: Any, memory: PeakMemory, vectors: str) -> TrainResult:
        """Save the dictionary, for inputs as they were before preprocessing, and measure it.

        `vectors`: digest of the vectors that it was trained on.
        """
        if self.optimisers.settle():
            self.dictionary.constrain()
        final, preprocessing = self._made_whole(), self.objective.preprocessing or preprocessing
        if self.mesh.first:
            if preprocessing is not None:
                final = final.folded(preprocessing.mean.to(self.device), preprocessing.scale)
            final.metadata = final.metadata.replace(tokens=self.steps * self.batch)
            save_dictionary(final, self.out)
        held = self.heldout if self.mesh.first else None
        metrics = held_out_metrics(final, held.to(self.device)) if held is not None and len(held) else None
        timed = self.durations[UNTIMED:] or self.durations
        seconds = statistics.median(timed) if timed else None
        result = TrainResult(
            steps=self.steps,
            step_ms=None if seconds is None else 1e3 * seconds,
            tokens_per_second=None if seconds is None else self.batch / seconds,
            held_out_fvu=metrics.fvu if metrics else None,
            l0=metrics.l0 if metrics else None,
            alive=metrics.alive if metrics else None,
            peak_memory_mb=memory.peak(),
            memory_before_mb=memory.before,
            training_fvu=self.running_fvu,
            terms=self.terms,
            dictionary=self.out,
            coefficient=self.dictionary.coefficient,
            missed=missed_target(self.config.target_l0, metrics.l0 if metrics else None, self.steps, self.target),
        )
        if self.mesh.first:
            facts = {"recipe": self.recipe, "vectors": vectors, "sha256": sha256_file(self.out / WEIGHTS)}
            write_json(self.out / FACTS, {**facts, **result.to_dict()})
        return result

    def _made_whole(self) -> Any:
        """Return the dictionary with all its latents, in the first process; in main memory where it was divided."""
        whole: Any = self.whole
        if whole is not self.dictionary:
            tensors = whole_tensors(self.mesh, self.dictionary.state_dict(), self.dictionary.n_latents)
            if self.mesh.first:
                whole = whole.shard(1)
                whole.load_state_dict(tensors)
        return whole


def _product(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return choose_product(device)
    dtype: torch.dtype = getattr(torch, name)
    try:
        if dtype == torch.int8 and device.type != "cpu":
            raise TypeError
        ones = torch.ones(2, 2, dtype=dtype, device=device)
        torch.mm(ones, ones)
    except (RuntimeError, TypeError):
        raise ConfigError(
            f"TrainConfig.product = {name!r} is not valid: the device {device} can't multiply in {name}. "
            "Take --product float32, or auto."
        ) from None
    return dtype
