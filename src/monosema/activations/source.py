"""What streams and statistics need of rows on disk; a captured store and a matrix of anybody's vectors both give it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from monosema.activations.codec import Coded
from monosema.activations.ranges import Range
from monosema.core import Site


@runtime_checkable
class RowSource(Protocol):
    """Rows of activations, numbered from 0, the same row at every site being the same token."""

    @property
    def name(self) -> str:
        """Path, for messages."""
        ...

    @property
    def digest(self) -> str:
        """A short hash of the content, for resume."""
        ...

    @property
    def sites(self) -> tuple[Site, ...]:
        """Sites that there are rows of."""
        ...

    @property
    def rows(self) -> int:
        """Number of rows."""
        ...

    def width(self, site: Site | str) -> int:
        """Values in a row."""
        ...

    def row_bytes(self, site: Site | str) -> float:
        """Bytes of a row as stored."""
        ...

    def gather(self, site: Site | str, ranges: Sequence[Range]) -> Coded:
        """Copies of the rows of all ranges, as stored; no file stays in memory."""
        ...

    def read(self, site: Site | str, start: int, stop: int) -> Float[Tensor, "n width"]:
        """Rows start … stop - 1 in float32, copied."""
        ...
