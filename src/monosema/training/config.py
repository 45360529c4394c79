"""The configuration of a training run, and its result."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from monosema.core import Config


class TrainConfig(Config):
    """Configuration of training."""

    objective: Literal["reconstruction", "end-to-end"] = "reconstruction"
    """The loss: the error at the dictionary's site, or the model's loss with the reconstruction in place
    (`end_to_end`); the latter needs a run, which has the model and the text."""
    downstream: float = Field(0.0, ge=0)
    """Weight of later layers' errors in end-to-end training; 0 is the plain form."""
    target_l0: float | None = Field(None, gt=0)
    """Active latents a row that the weight of the sparsity penalty is adapted to while training, from its value at the
    start; None leaves it."""
    lr: float | None = Field(None, gt=0)
    """Peak learning rate; None takes `learning_rate`'s rule of steps and latents."""
    warmup: int | None = Field(None, ge=0)
    """Steps over which the learning rate rises linearly; None takes `warm_up_steps`' rule."""
    decay: float = Field(0.7, ge=0, le=1)
    """Share of all steps, at the end, over which the learning rate falls linearly to 0; sign_sgd needs no fall."""
    optimiser: Literal["adam", "sign_sgd", "muon"] = "adam"
    """The rule of the step: Adam, schedule-free SignSGD, or Muon (for matrices; Adam for vectors)."""
    beta1: float | None = Field(None, ge=0, lt=1)
    """Adam's decay of the mean of gradients (Kingma and Ba 2014), 0.7 by default: 0.9 overshoots in short runs; the
    weight of the average in sign_sgd, 0.9 by default."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Adam's decay of the mean of squared gradients (Kingma and Ba 2014)."""
    epsilon: float | None = Field(None, gt=0)
    """Adam's ε; None gives mean squares a floor instead (`floored_adam`), which holds back the steps of latents that
    fire rarely."""
    clip: float | None = Field(None, gt=0)
    """Largest norm of all gradients together; None does not clip, as Adam's step does not depend on their scale."""
    accumulate: int = Field(1, gt=0)
    """Equal parts that a batch is worked on in, one after the other, their gradients added up: less memory, the same
    step (BatchTopK and Matryoshka keep their largest of each part)."""
    product: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """Precision of the encoder's matrix product; auto takes what the machine does fastest, as measured. With int8, on
    processors, the product only names candidates: their pre-activations are computed in float32 and decide."""
    start_rows: int = Field(16_384, gt=0)
    """Rows of the stream that the dictionary's start is taken from, at most."""
    seed: int = 0
    """Seed of all that is random."""
    log_every: int = Field(10, gt=0)
    """Steps between two lines of metrics.jsonl."""
    track: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Further records: tensorboard, wandb (offline, unless WANDB_MODE says otherwise)."""
    checkpoint_seconds: float = Field(60.0, gt=0)
    """Seconds between two checkpoints."""
    checkpoint_steps: int | None = Field(None, gt=0)
    """Steps between two checkpoints; overrides the seconds."""
    keep: int = Field(2, gt=0)
    """Checkpoints that are kept, the newest; the best by the running FVU is kept besides."""

    def recipe(self) -> dict[str, Any]:
        """Return the fields that change the result."""
        unimportant = {"log_every", "track", "checkpoint_seconds", "checkpoint_steps", "keep"}
        if self.target_l0 is None:  # Recipes of earlier versions, which lack it, keep their digest.
            unimportant.add("target_l0")
        return self.model_dump(mode="json", exclude=unimportant)


@dataclass(frozen=True)
class TrainResult:
    """Result of a training run.

    Attributes:
        steps: optimiser steps in all.
        step_ms: median milliseconds of a step in this process, without waiting for data; None if it made no step.
        tokens_per_second: vectors a second by that median.
        held_out_fvu: share of the held-out rows' variance left unexplained; None without held-out rows that differ.
        l0: active latents per held-out row; None likewise.
        alive: share of latents active on at least one held-out row; None likewise.
        peak_memory_mb: peak resident memory of the process while training (GPU memory, on a GPU), in 10⁶ bytes.
        memory_before_mb: memory of the process before, libraries and data mappings included.
        training_fvu: running mean over the last recorded batches of the share of variance left unexplained.
        terms: parts of the loss, as recorded last.
        dictionary: folder of the saved dictionary.
        coefficient: weight of the sparsity penalty at the end; None where k sets sparsity.
        missed: warning that the target L0 was missed by more than a tenth; None where it wasn't.
    """

    steps: int
    step_ms: float | None
    tokens_per_second: float | None
    held_out_fvu: float | None
    l0: float | None
    alive: float | None
    peak_memory_mb: float
    memory_before_mb: float
    training_fvu: float | None
    terms: dict[str, float]
    dictionary: Path
    coefficient: float | None = None
    missed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "dictionary": str(self.dictionary)}
