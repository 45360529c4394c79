"""Rows of several sites side by side: what crosscoders and transcoders are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations.preprocessing import Preprocessing
from monosema.activations.source import RowSource, place_of
from monosema.activations.stream import StoreStream
from monosema.core import ConfigError, Site, VectorError

COMPARED = 4096
"""Rows at the beginning and at the end of two stores whose tokens are compared."""


class JoinedStream:
    """Streams over several sites whose rows are the same tokens in the same order, as one stream of longer rows.

    The sites may be of one store, or of stores that two models' activations on the same text are in.

    Attributes:
        widths: values of each site in a row.
        d_in: their sum.
    """

    def __init__(self, streams: Sequence[StoreStream]) -> None:
        """Raises ConfigError or VectorError, naming both, where two streams differ in tokens or their order."""
        if not streams:
            raise ConfigError("JoinedStream.streams = [] is not valid: give a stream for each site.")
        self._streams = list(streams)
        first = self._streams[0]
        for other in self._streams[1:]:
            _require_equal_order(first, other)
            _require_equal_tokens(first, other)
        self.widths = tuple(stream.d_in for stream in self._streams)
        self.d_in = sum(self.widths)
        self.batch, self.rows, self.batches = first.batch, first.rows, first.batches
        own = [stream.preprocessing for stream in self._streams]
        self.preprocessing = Preprocessing.joined(own, self.widths) if any(own) else None

    @classmethod
    def over(
        cls,
        places: Sequence[tuple[RowSource, Site | str]],
        *,
        preprocessing: Sequence[Preprocessing | None] | None = None,
        memory_mb: int | float = 512,
        **options: Any,
    ) -> JoinedStream:
        """A stream over sites, each with the store it is in.

        Memory is divided so that each site has as many rows in it, as their order depends on that.

        Args:
            preprocessing: one for each site.
            memory_mb: megabytes for all sites together.
            options: the rest of what `StoreStream` takes: batch, seed, passes, rows, chunk.
        """
        own = list(preprocessing or [None] * len(places))
        row_bytes = [source.row_bytes(site) for source, site in places]
        # Half a row more keeps rounding from giving one site a row less than another.
        rows = int(memory_mb * 2**20 / sum(row_bytes)) + 0.5
        return cls(
            [
                StoreStream(source, site, preprocessing=one, memory_mb=rows * size / 2**20, **options)
                for (source, site), one, size in zip(places, own, row_bytes, strict=True)
            ]
        )

    @property
    def sites(self) -> tuple[Site, ...]:
        """Sites of the parts of a row."""
        return tuple(stream.site for stream in self._streams)

    def __len__(self) -> int:
        """Batches in all passes."""
        return self.batches

    def __iter__(self) -> Iterator[Float[Tensor, "batch d_in"]]:
        """The batches that are left."""
        while True:
            try:
                batch = self.next_batch()
            except StopIteration:
                return
            yield batch

    def next_batch(self) -> Float[Tensor, "batch d_in"]:
        """The next batch, float32 and contiguous. Raises StopIteration at the end of the last pass."""
        return torch.cat([stream.next_batch() for stream in self._streams], dim=1)

    def state_dict(self) -> dict[str, Any]:
        """The state of each stream."""
        return {"streams": [stream.state_dict() for stream in self._streams]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another stream was. Raises RunError where its rows or their order were others."""
        for stream, own in zip(self._streams, state["streams"], strict=True):
            stream.load_state_dict(own)


def _named(stream: StoreStream) -> str:
    return place_of(stream.source, stream.site)


def _require_equal_order(one: StoreStream, other: StoreStream) -> None:
    for name, said in one.order.items():
        if other.order[name] != said:
            hint = " `JoinedStream.over` gives each site as many rows." if name == "rows in memory" else ""
            raise ConfigError(
                f"Two sites can't be joined: their {name} differ, {said} for {_named(one)} and {other.order[name]} for "
                f"{_named(other)}. Give both streams the same batch, rows, seed, passes and chunk.{hint}"
            )


def _require_equal_tokens(one: StoreStream, other: StoreStream) -> None:
    """Compares token ids where both stores keep them; the same store needs no comparison."""
    a, b = (getattr(stream.source, "tokens", None) for stream in (one, other))
    if one.source.digest == other.source.digest or a is None or b is None:
        return
    n = one.source.rows
    for start, stop in ((0, min(n, COMPARED)), (max(0, n - COMPARED), n)):
        differs = (a(start, stop) != b(start, stop)).nonzero()
        if len(differs):
            raise VectorError(
                f"Two sites can't be joined: row {start + int(differs[0])} is another token of {_named(one)} than of "
                f"{_named(other)}. Capture both on the same text, with the same tokenizer and the same rows left out."
            )
