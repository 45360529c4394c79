"""The trainer: one loop for every architecture.

The dictionary gives its forward pass, its loss terms and its constraint; the stream gives batches; the loop, precision,
learning rate, checkpoints, resume, records and the watch for anomalies are here and nowhere else.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations import ActivationStream
from monosema.core import (
    AnomalyError,
    Progress,
    RunError,
    SilentProgress,
    VectorError,
    bf16_is_fast,
    digest,
    write_json,
)
from monosema.dictionaries import Losses, Moment, Trainable, save_dictionary
from monosema.kernels import give_back_free_memory, keep_large_blocks
from monosema.training.checkpoint import Checkpoint, Checkpoints
from monosema.training.config import TrainConfig, TrainResult
from monosema.training.memory import PeakMemory
from monosema.training.metrics import MetricsFile, held_out_figures
from monosema.training.schedule import learning_rate, schedule

__all__ = ["Trainer", "train"]

UNTIMED = 3
"""Steps at the start of a process that are left out of the median: caches and allocators warm up."""
EXPLODED = 1e3
"""Unexplained share of variance beyond which a run is taken to have exploded; 1 is what the mean alone reaches."""


def train(
    dictionary: Trainable,
    stream: ActivationStream,
    config: TrainConfig,
    out: Path,
    *,
    heldout: Float[Tensor, "n d_in"] | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a dictionary on all batches of a stream, and save it.

    A run that was interrupted goes on from its newest checkpoint; on a CPU with the same number of threads the result
    is equal, to the last bit, to that of a run without interruption.

    Args:
        stream: batches in training units; its ``preprocessing`` is folded into what is saved.
        out: receives cfg.json, sae_weights.safetensors, metrics.jsonl, training.json, and checkpoint/ meanwhile.
        heldout: rows in the model's units, never trained on.

    Raises:
        VectorError: the stream's width is not the dictionary's.
        RunError: the checkpoint in `out` is of another recipe.
        AnomalyError: NaN, an exploding loss, or only dead latents; names the step and the last checkpoint.
        DiskFullError: what was saved before is intact.
    """
    return Trainer(dictionary, stream, config, out, progress).run(heldout)


class Trainer:
    """One run: `begin`, then `step` with every batch of the stream, then `finish`; `run` does all of it.

    Attributes:
        step_number: steps that are done.
        steps: steps in all.
        peak_lr: largest learning rate.
        product: precision of the encoder's product.
        durations: seconds of each step in this process.
    """

    def __init__(
        self,
        dictionary: Trainable,
        stream: ActivationStream,
        config: TrainConfig,
        out: Path,
        progress: Progress | None = None,
    ) -> None:
        """Arguments as for `train`. Raises VectorError where the widths differ, RunError for a stream without end."""
        if stream.d_in != dictionary.row_width:
            raise VectorError(
                f"The vectors have width {stream.d_in}, but the dictionary takes width {dictionary.row_width}. "
                f"Make the dictionary for width {stream.d_in}, or give vectors of its site."
            )
        self.dictionary, self.stream, self.config, self.out = dictionary, stream, config, Path(out)
        self.progress = progress or SilentProgress()
        self.device = next(iter(dictionary.parameters())).device
        self.steps = _length(stream)
        self.peak_lr = config.lr or learning_rate(dictionary.n_latents, self.steps)
        self.product = _product(config.product, self.device)
        self.parameters = list(dictionary.parameters())
        self.optimiser = torch.optim.Adam(
            self.parameters, lr=self.peak_lr, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True
        )
        self.checkpoints = Checkpoints(self.out / "checkpoint", config.keep)
        self.recipe = digest(
            [type(dictionary).__name__, dictionary.config.to_dict(), config.recipe(), self.steps, stream.batch]
        )
        self.step_number = 0
        self.durations: list[float] = []

    def run(self, heldout: Float[Tensor, "n d_in"] | None = None) -> TrainResult:
        """Train to the end, or from the newest checkpoint to the end."""
        memory = PeakMemory(self.device)
        metrics = MetricsFile(self.out / "metrics.jsonl", self.begin())
        saved_at = time.monotonic()
        try:
            for batch in self.stream:
                losses = self.step(batch.to(self.device))
                self.progress.advance(len(batch))
                if self.step_number % self.config.log_every == 0 or self.step_number == self.steps:
                    self._record(losses, metrics)
                if self._due(saved_at):
                    self._refuse_anomaly(losses)
                    self.checkpoints.save(self._checkpoint(metrics.bytes))
                    saved_at = time.monotonic()
        finally:
            metrics.close()
        return self._finish(heldout, memory)

    def begin(self) -> int:
        """Start from the newest checkpoint or from data; gives the length of metrics.jsonl that stays."""
        keep_large_blocks()
        kept = self._begin()
        give_back_free_memory()
        return kept

    def _begin(self) -> int:
        checkpoint = self.checkpoints.newest()
        if checkpoint is None:
            self._start()
            return 0
        if checkpoint.recipe != self.recipe:
            raise RunError(
                f"{self.checkpoints.folder} holds a checkpoint of another recipe (step {checkpoint.step}). "
                "Give the recipe it was made with, another folder, or remove the checkpoint to begin anew."
            )
        self._restore(checkpoint)
        self.progress.advance(self.step_number * self.stream.batch)
        return checkpoint.metrics_bytes

    def _start(self) -> None:
        """Initialise the dictionary from the stream's first rows, then rewind the stream."""
        beginning = self.stream.state_dict()
        wanted = -(-self.config.start_rows // self.stream.batch)
        sample = torch.cat(list(itertools.islice(self.stream, min(wanted, self.steps))))
        self.stream.load_state_dict(beginning)
        self.dictionary.start(sample.to(self.device), self.config.seed)

    def step(self, batch: Float[Tensor, "n d_in"]) -> Losses:
        """One step on one batch."""
        began = time.perf_counter()
        rate = self.peak_lr * schedule(self.step_number, self.steps, self.config.warmup, self.config.decay)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        losses = self.dictionary.losses(batch, self._moment())
        losses.total.backward()
        self.dictionary.project_gradients()
        if self.config.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimiser.step()
        self.dictionary.constrain()
        self.optimiser.zero_grad(set_to_none=True)
        self.dictionary.observe(losses.codes)
        self._forget(self.dictionary.resample(batch, self._moment()))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.durations.append(time.perf_counter() - began)
        self.step_number += 1
        return losses

    def _forget(self, latents: Tensor) -> None:
        """Clear what the optimiser remembers of latents that were given a new start."""
        if len(latents) == 0:
            return
        for parameter in self.parameters:
            if len(parameter) == self.dictionary.n_latents:
                for name, value in self.optimiser.state[parameter].items():
                    if name != "step":
                        value[latents] = 0

    def _record(self, losses: Losses, metrics: MetricsFile) -> None:
        self._refuse_anomaly(losses)
        dead = len(self.dictionary.dead(self._moment()))
        figures = {
            "step": self.step_number,
            "tokens": self.step_number * self.stream.batch,
            "fvu": float(losses.fvu),
            "l0": float(losses.codes.l0.mean()),
            "dead": dead / self.dictionary.n_latents,
            "lr": self.optimiser.param_groups[0]["lr"],
            "step_ms": 1e3 * statistics.median(self.durations[-self.config.log_every :]),
            **{f"loss_{name}": float(term) for name, term in losses.terms.items()},
        }
        metrics.write(**figures)
        self.progress.note(fvu=figures["fvu"], l0=figures["l0"], dead=figures["dead"])

    def _refuse_anomaly(self, losses: Losses) -> None:
        fvu, total = float(losses.fvu), float(losses.total.detach())
        reason = None
        if not (math.isfinite(fvu) and math.isfinite(total)):
            reason = "the loss is not a number (NaN or infinite)"
        elif fvu > EXPLODED:
            reason = f"the loss exploded: {fvu:.3g} times the variance of the batch is left unexplained"
        elif not bool((losses.codes.values > 0).any()):
            reason = "all latents are dead: none is active on any vector of the batch"
        if reason is not None:
            kept = self.checkpoints.paths()
            where = f"The last good checkpoint is {kept[-1]}." if kept else "There is no checkpoint yet."
            raise AnomalyError(
                f"Training stopped at step {self.step_number} of {self.steps}: {reason}. {where} "
                f"Lower the learning rate (now {self.peak_lr:.3g} at its peak), or look at the vectors."
            )

    def _due(self, saved_at: float) -> bool:
        if self.step_number >= self.steps:
            return False
        if self.config.checkpoint_steps is not None:
            return self.step_number % self.config.checkpoint_steps == 0
        return time.monotonic() - saved_at >= self.config.checkpoint_seconds

    def _checkpoint(self, metrics_bytes: int) -> Checkpoint:
        tensors = {f"dictionary.{name}": tensor for name, tensor in self.dictionary.state_dict().items()}
        for number, parameter in enumerate(self.parameters):
            for name, value in self.optimiser.state[parameter].items():
                tensors[f"optimiser.{number}.{name}"] = value
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        return Checkpoint(self.step_number, self.recipe, self.stream.state_dict(), metrics_bytes, tensors)

    def _restore(self, checkpoint: Checkpoint) -> None:
        tensors = checkpoint.tensors
        self.dictionary.load_state_dict(
            {n.removeprefix("dictionary."): t for n, t in tensors.items() if n.startswith("dictionary.")}
        )
        for number, parameter in enumerate(self.parameters):
            prefix = f"optimiser.{number}."
            state = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            self.optimiser.state[parameter] = {
                name: value if name == "step" else value.to(parameter.device) for name, value in state.items()
            }
        self.stream.load_state_dict(checkpoint.stream)
        self.step_number = checkpoint.step

    def _moment(self) -> Moment:
        return Moment(self.step_number, self.steps, self.stream.batch, self.product)

    def _finish(self, heldout: Tensor | None, memory: PeakMemory) -> TrainResult:
        preprocessing: Any = getattr(self.stream, "preprocessing", None)
        final: Any = self.dictionary
        final.metadata = final.metadata.replace(tokens=self.steps * self.stream.batch)
        if preprocessing is not None:
            final = self.dictionary.folded(preprocessing.mean.to(self.device), preprocessing.scale)
        save_dictionary(final, self.out)
        figures = held_out_figures(final, heldout.to(self.device)) if heldout is not None and len(heldout) else None
        timed = self.durations[UNTIMED:] or self.durations
        seconds = statistics.median(timed) if timed else None
        result = TrainResult(
            steps=self.steps,
            step_ms=None if seconds is None else 1e3 * seconds,
            tokens_per_second=None if seconds is None else self.stream.batch / seconds,
            held_out_fvu=figures.fvu if figures else None,
            l0=figures.l0 if figures else None,
            alive=figures.alive if figures else None,
            peak_memory_mb=memory.peak(),
            memory_before_mb=memory.before,
            dictionary=self.out,
        )
        write_json(self.out / "training.json", {"recipe": self.recipe, **result.to_dict()})
        self.checkpoints.clear()
        return result


def _length(stream: ActivationStream) -> int:
    if stream.batches is None:
        raise RunError("The stream does not say how many batches it has; the learning rate's course needs that.")
    return stream.batches


def _product(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if bf16_is_fast(device) else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32
