"""The seams: what every dictionary gives, and what one that can be trained gives besides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.core import Config, Site
from monosema.dictionaries.codes import Codes


@dataclass(frozen=True)
class Metadata:
    """Where a dictionary comes from and belongs to.

    Attributes:
        model: name or path of the model; None where the vectors are not a model's.
        site: where in the model its inputs are; None likewise.
        context: tokens in a training window.
        prepend_bos: whether windows began with a beginning-of-sequence token.
        dataset: name of the text or of the vectors.
        tokens: vectors it was trained on.
        extra: anything else that JSON can hold; kept through save and load.
    """

    model: str | None = None
    site: Site | None = None
    context: int | None = None
    prepend_bos: bool = True
    dataset: str | None = None
    tokens: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def replace(self, **values: Any) -> Metadata:
        """A copy with some fields changed."""
        return replace(self, **values)


@runtime_checkable
class Dictionary(Protocol):
    """Writes activations as sparse sums of directions.

    Attributes:
        d_in: values in an input row.
        d_out: values in a reconstructed row; equal to d_in but for transcoders.
        n_latents: number of directions.
        metadata: where it comes from.
    """

    d_in: int
    d_out: int
    n_latents: int
    metadata: Metadata

    @property
    def directions(self) -> Float[Tensor, "n_latents d_out"]:
        """What each latent adds to the output when its activation is 1."""
        ...

    def encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None = None) -> Codes:
        """Codes of rows. `matmul_dtype` asks for the matrix product in another precision, where it is faster."""
        ...

    def decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Rows from codes."""
        ...

    def __call__(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """The reconstruction: ``decode(encode(x))``."""
        ...


@dataclass(frozen=True)
class StepContext:
    """Where in a training run a step stands; what an architecture may let its loss depend on.

    Attributes:
        step: steps done before this one.
        steps: steps in all.
        batch: vectors in a step.
        matmul_dtype: precision of large matrix products; None keeps that of the vectors.
    """

    step: int = 0
    steps: int = 1
    batch: int = 1
    matmul_dtype: torch.dtype | None = None

    @property
    def vectors(self) -> int:
        """Vectors in all steps."""
        return self.steps * self.batch


@dataclass(frozen=True)
class Losses:
    """What one training step computed.

    Attributes:
        total: the scalar to differentiate.
        terms: its parts, for the record.
        codes: the codes of the batch, without gradient.
        fvu: share of the batch's variance that is left unexplained, without gradient.
        error: the part of the total that asks for reconstruction, with its gradient.
        residual: what is wanted less what is written, with its gradient: where an objective that is not the error at
            this site enters (`training.end_to_end`). Both are None where they make no sense: of a batch's sums.
    """

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]
    codes: Codes
    fvu: Float[Tensor, ""]
    error: Float[Tensor, ""] | None = None
    residual: Float[Tensor, "n d"] | None = None


class Trainable(Dictionary, Protocol):
    """A dictionary that the trainer can train.

    The trainer calls, for each batch: `losses`, backward, `project_gradients`, the optimiser, `constrain`, `observe`,
    `resample`.
    """

    @property
    def config(self) -> Config:
        """What the dictionary is."""
        ...

    @property
    def row_width(self) -> int:
        """Values in a row of the training stream: d_in, or more where a row holds several sites side by side."""
        ...

    @property
    def row_vectors(self) -> int:
        """Vectors that a row of the training stream holds: 1, but where a row is a window of tokens."""
        ...

    @property
    def expected_l0(self) -> float:
        """Active latents a row, as far as the configuration says it."""
        ...

    def dead(self, context: StepContext) -> Int[Tensor, " dead"]:
        """Latents that count as dead."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """What the optimiser changes."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Parameters and counters, for checkpoints."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """Take a checkpoint's parameters and counters."""
        ...

    def start(self, sample: Float[Tensor, "n d_in"], seed: int) -> None:
        """Initialise from a sample of the data."""
        ...

    def losses(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Losses:
        """Forward pass and loss terms; changes no state."""
        ...

    def project_gradients(self) -> None:
        """Before the optimiser's step: remove from gradients what the constraint would undo."""
        ...

    def constrain(self) -> None:
        """After the optimiser's step: enforce the constraint, such as unit norms."""
        ...

    def observe(self, codes: Codes) -> None:
        """Once per training batch: count who was active. Never called for logging or evaluation."""
        ...

    def resample(self, x: Float[Tensor, "n row_width"], context: StepContext) -> Int[Tensor, " latents"]:
        """After `observe`: latents that were given a new start; the trainer clears the optimiser's state of their
        rows, in every parameter whose first dimension is n_latents."""
        ...

    def folded(self, mean: Float[Tensor, " d_in"], scale: float) -> Dictionary:
        """The dictionary for inputs x whose training form was (x − mean) · scale."""
        ...
