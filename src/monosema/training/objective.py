"""The aim of a training run: rows of its stream, and the loss that a dictionary has on them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from monosema.activations import Preprocessing
from monosema.dictionaries import Losses, StepContext, Trainable


@runtime_checkable
class Objective(Protocol):
    """A loss, and how rows of the stream become the vectors that it is about.

    Attributes:
        row_vectors: vectors that a row of the stream holds.
        preprocessing: from the model's units to those of the vectors; None where the stream has done that.
    """

    row_vectors: int
    preprocessing: Preprocessing | None

    def row_width(self, dictionary: Trainable) -> int:
        """Return values in a row of the stream."""
        ...

    def check(self, dictionary: Trainable, shards: int) -> None:
        """Raise ConfigError for a dictionary, or parts of its latents, that the loss is not for."""
        ...

    def vectors(self, rows: Float[Tensor, "n row_width"]) -> Float[Tensor, "vectors width"]:
        """Return the vectors that rows hold, in training units."""
        ...

    def losses(self, dictionary: Trainable, rows: Float[Tensor, "n row_width"], context: StepContext) -> Losses:
        """Compute the loss and its terms; changes no state."""
        ...


class Reconstruction:
    """The dictionary's own loss: the error at its site, and what its activation adds. Rows are vectors."""

    row_vectors = 1
    preprocessing: Preprocessing | None = None

    def row_width(self, dictionary: Trainable) -> int:
        """Return values in a row: the dictionary's."""
        return dictionary.row_width

    def check(self, dictionary: Trainable, shards: int) -> None:
        """Take any dictionary."""

    def vectors(self, rows: Float[Tensor, "n row_width"]) -> Float[Tensor, "n row_width"]:
        """Return the rows."""
        return rows

    def losses(self, dictionary: Trainable, rows: Float[Tensor, "n row_width"], context: StepContext) -> Losses:
        """Compute the dictionary's losses."""
        return dictionary.losses(rows, context)
