"""The seams: what every dictionary gives, and what one that can be trained gives besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.core import Site
from monosema.dictionaries.codes import Codes
from monosema.kernels import Grid

_Own = TypeVar("_Own")


@dataclass(frozen=True)
class Metadata:
    """Origin of a dictionary, and the site that it belongs to.

    Attributes:
        model: name or path of the model; None where the vectors are not a model's.
        site: where in the model its inputs are; None likewise.
        context: tokens in a training window.
        prepend_bos: true where windows began with a beginning-of-sequence token.
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
        """Return a copy with some fields changed."""
        return replace(self, **values)


@runtime_checkable
class Dictionary(Protocol):
    """Activations written as sparse sums of directions.

    Attributes:
        d_in: width of the input.
        d_out: width of the reconstruction; another than d_in for transcoders alone.
        n_latents: number of directions.
        metadata: where the dictionary comes from.
    """

    d_in: int
    d_out: int
    n_latents: int
    metadata: Metadata

    @property
    def directions(self) -> Float[Tensor, "n_latents d_out"]:
        """The vector that each latent adds to the output when its activation is 1."""
        ...

    def encode(self, x: Float[Tensor, "*rows d_in"], matmul_dtype: torch.dtype | None = None) -> Codes:
        """Compute the codes of vectors of any leading shape, which they keep.

        `matmul_dtype` asks for another precision of the product, where it is faster.
        """
        ...

    def decode(self, codes: Codes | Float[Tensor, "*rows n_latents"]) -> Float[Tensor, "*rows d_out"]:
        """Compute vectors from codes, sparse or dense."""
        ...

    def __call__(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_out"]:
        """Compute the reconstruction: ``decode(encode(x))``."""
        ...

    def to(self: _Own, device: torch.device | str) -> _Own:
        """Move to a device."""
        ...


def in_a_line(kind: str, dictionary: Dictionary) -> str:
    """Say what a dictionary is, how wide, and where it reads."""
    about = dictionary.metadata
    widths = [f"{dictionary.d_in:,}", f"{dictionary.n_latents:,} latents"]
    written = [] if dictionary.d_out == dictionary.d_in else [f"{dictionary.d_out:,}"]
    place = "" if about.site is None else f", {about.site.short}" + (f" of {about.model}" if about.model else "")
    return f"{kind}({' → '.join([*widths, *written])}{place})"


@dataclass(frozen=True)
class StepContext:
    """The training step that a loss belongs to, and what several processes or parts of a batch must agree on.

    Attributes:
        step: steps done before this one.
        steps: steps in all.
        batch: vectors in a step.
        matmul_dtype: precision of large matrix products; None keeps that of the vectors.
        grid: processes that share the batch or the latents; None in a single process.
        mean_rows: rows of a group of processes, on average, where groups have different numbers of them.
        variance: Σ ‖x − x̄‖² of the whole batch over its number of parts, where a loss sees one of equal parts.
    """

    step: int = 0
    steps: int = 1
    batch: int = 1
    matmul_dtype: torch.dtype | None = None
    grid: Grid | None = None
    mean_rows: float | None = None
    variance: Float[Tensor, ""] | None = None

    @property
    def vectors(self) -> int:
        """Vectors in all steps."""
        return self.steps * self.batch

    @property
    def shards(self) -> int:
        """Parts that processes divide the latents into."""
        return 1 if self.grid is None else self.grid.shards

    def rows(self, number: int) -> float:
        """Divisor of sums over this process's rows, so that the mean over groups is that over the whole batch."""
        return float(max(1, number)) if self.mean_rows is None else max(1.0, self.mean_rows)

    def warm_up(self, share: float) -> float:
        """Linear rise from 0 to 1 over a share of the run; 1 where the share is 0."""
        rise = share * self.steps
        return min(1.0, (self.step + 1) / rise) if rise > 0 else 1.0

    def uneven(self, rows: Float[Tensor, "n d"]) -> StepContext:
        """Return the context of a step in which groups of processes have different numbers of rows: here these."""
        if self.grid is None:
            return self
        number = torch.tensor(len(rows), dtype=torch.float32, device=rows.device)
        return replace(self, mean_rows=float(self.grid.sum_over_rows(number)) / self.grid.groups)


@dataclass(frozen=True)
class Losses:
    """Result of a training step's forward pass.

    Attributes:
        total: the scalar to differentiate.
        terms: its parts, for the record.
        codes: the codes of the batch, without gradient.
        fvu: share of the batch's variance that is left unexplained, without gradient.
        error: the part of the total that asks for reconstruction, with its gradient.
        residual: the target less the reconstruction, with its gradient: where an objective that is not the error at
            this site enters (`training.objective`). Both are None where they make no sense: of a batch's sums.
    """

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]
    codes: Codes
    fvu: Float[Tensor, ""]
    error: Float[Tensor, ""] | None = None
    residual: Float[Tensor, "n d"] | None = None


@runtime_checkable
class Coder(Protocol):
    """A sparse coder as its activation function sees it (`coder.SparseCoder`).

    Attributes:
        W_enc: the encoder, one row per latent.
        b_enc: bias of the encoder.
        W_dec: the decoder, one row per latent.
        b_dec: bias of the decoder.
        silent_tokens: vectors since each latent was last active in training.
        d_in: width of the input.
        n_latents: number of latents.
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    silent_tokens: Tensor
    d_in: int
    n_latents: int

    @property
    def centre(self) -> Float[Tensor, " d_in"] | None:
        """The vector that is taken from the input: b_dec with its gradient, or None."""
        ...

    def own(self, name: str) -> Tensor:
        """Return a tensor that the activation added."""
        ...

    def keep(self, name: str, tensor: Tensor) -> None:
        """Add a tensor of the activation's: a parameter is trained, another tensor is kept in checkpoints."""
        ...

    def encode(
        self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None = None, grid: Grid | None = None
    ) -> Codes:
        """Compute the codes of rows; where processes share the latents, those that stay beside the others'."""
        ...

    def decode(self, codes: Codes, grid: Grid | None = None) -> Float[Tensor, "n d_out"]:
        """Compute rows from codes, over all processes that share the latents."""
        ...

    def decoder_norms(self) -> Float[Tensor, " n_latents"]:
        """Compute the norm of each decoder row, summed over sites where the coder writes several."""
        ...

    def dead(self, context: StepContext) -> Int[Tensor, " dead"]:
        """Find the latents that count as dead."""
        ...


@runtime_checkable
class Trainable(Dictionary, Protocol):
    """A dictionary that the trainer can train.

    The trainer calls, for each batch: `losses`, backward, `project_gradients`, the optimiser, `constrain`, `observe`,
    `resample`.
    """

    @property
    def row_width(self) -> int:
        """Values in a row of the training stream: d_in, or more where a row holds several sites side by side."""
        ...

    @property
    def expected_l0(self) -> float:
        """Active latents a row, as far as the configuration says it."""
        ...

    @property
    def coefficient(self) -> float | None:
        """Weight of the sparsity penalty, which training may set; None where k sets sparsity."""
        ...

    @coefficient.setter
    def coefficient(self, value: float) -> None: ...

    def description(self) -> dict[str, Any]:
        """Plain values that say what the dictionary is: what a digest of the run's recipe is made of."""
        ...

    def require_saveable(self) -> None:
        """Raise FormatError where no format can hold the trained dictionary; asked before the first step."""
        ...

    def inputs_and_targets(self, rows: Float[Tensor, "n row_width"]) -> tuple[Tensor, Tensor]:
        """Split rows of the training stream into what is read, [n, d_in], and what is to be written, [n, d_out]."""
        ...

    def dead(self, context: StepContext) -> Int[Tensor, " dead"]:
        """Latents that count as dead."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Parameters that the optimiser changes."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Parameters and counters, for checkpoints."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> Any:
        """Take a checkpoint's parameters and counters."""
        ...

    def shard(self, shards: int) -> Trainable:
        """Make an untrained part of the dictionary, with one of `shards` equal parts of its latents.

        Raises ConfigError where its latents can't be divided.
        """
        ...

    def start(self, sample: Float[Tensor, "n row_width"], seed: int) -> None:
        """Initialise from a sample of the data."""
        ...

    def losses(self, x: Float[Tensor, "n row_width"], context: StepContext) -> Losses:
        """Compute the loss and its terms; changes no state."""
        ...

    def project_gradients(self) -> None:
        """Before the optimiser's step: remove from gradients what the constraint would undo."""
        ...

    def constrain(self) -> None:
        """After the optimiser's step: enforce the constraint, such as unit norms."""
        ...

    def observe(self, codes: Codes, context: StepContext) -> None:
        """Once per training batch: count who was active. Never called for logging or evaluation."""
        ...

    def restarts_at(self, context: StepContext) -> bool:
        """True at steps after which latents may be given a new start, for which `resample` needs rows."""
        ...

    def resample(self, x: Float[Tensor, "n row_width"], context: StepContext) -> Int[Tensor, " latents"]:
        """After `observe`, where `restarts_at` says so: give latents a new start, and return which; the trainer clears
        the optimiser's state of their rows, in every parameter whose first dimension is n_latents."""
        ...

    def folded(self, mean: Float[Tensor, " row_width"], scale: float | Float[Tensor, " row_width"]) -> Dictionary:
        """Make the dictionary of inputs x whose training form was (x − mean) · scale."""
        ...
