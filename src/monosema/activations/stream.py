"""Batches of activations for training, shuffled in bounded memory and resumable to the exact batch.

The shuffle is exact, computed and never stored. The rows are cut into small chunks of neighbours. Each pass deals the
chunks of the whole store in random order into blocks that fit into memory, and shuffles the rows of each block. So a
batch mixes text from everywhere, the disk is read in runs of a chunk, and the place of every batch follows from (seed,
pass, index) alone: to resume there is nothing to replay. Rows of one window of text lie in one chunk and so in one
block, spread over all of its batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.activations.codec import Coded
from monosema.activations.preprocessing import Preprocessing
from monosema.activations.source import RowSource, place_of
from monosema.core import ConfigError, RunError, Site, VectorError, counted, digest, numpy_generator, torch_generator


@runtime_checkable
class ActivationStream(Protocol):
    """Batches of equal size until the passes are over."""

    @property
    def d_in(self) -> int:
        """Values in a row."""
        ...

    @property
    def batch(self) -> int:
        """Rows in a batch."""
        ...

    @property
    def rows(self) -> int | None:
        """Rows in a pass; None where nobody knows before the text is read."""
        ...

    @property
    def batches(self) -> int | None:
        """Batches in all passes; None likewise."""
        ...

    def __iter__(self) -> Iterator[Float[Tensor, "batch d_in"]]:
        """The batches that are left."""
        ...

    def next_batch(self) -> Float[Tensor, "batch d_in"]:
        """The next batch, float32 and contiguous. Raises StopIteration at the end."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the stream's place: small, and plain enough for JSON."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another stream of the same recipe was. Raises RunError if it had another recipe."""
        ...


class StoreStream:
    """A stream over rows on disk.

    Streams over several sites of one store with the same `order` give the same tokens together (see `JoinedStream`).
    """

    def __init__(
        self,
        source: RowSource,
        site: Site | str | None = None,
        *,
        batch: int = 4096,
        seed: int = 0,
        passes: int = 1,
        preprocessing: Preprocessing | None = None,
        rows: slice = slice(None),
        memory_mb: int | float = 512,
        chunk: int = 512,
    ) -> None:
        """Start at the first batch of the first pass.

        Args:
            source: a store, or vectors.
            site: which site; may be left out where there is one only.
            batch: rows in a batch.
            seed: seed of the order.
            passes: how often every row is given; the order differs each time.
            preprocessing: applied to every batch.
            rows: which rows to train on: ``slice(None, -20_480)`` never gives the last 20,480.
            memory_mb: megabytes that rows may take in memory; with more, distant rows meet in a batch more evenly.
            chunk: neighbouring rows that are read together.

        Raises VectorError where the rows don't fill a batch, ConfigError for values out of range, SiteError.
        """
        for name, value in (("batch", batch), ("passes", passes), ("chunk", chunk), ("memory_mb", memory_mb)):
            if value <= 0:
                raise ConfigError(f"StoreStream.{name} = {value} is not valid: give a number above 0.")
        if site is None and len(source.sites) > 1:
            raise ConfigError(
                f"{source.name} has several sites ({', '.join(s.short for s in source.sites)}): say which."
            )
        self._source = source
        self._site = Site.parse(source.sites[0] if site is None else site)
        self.d_in = source.width(self._site)
        start, stop, step = rows.indices(source.rows)
        if step != 1:
            raise ConfigError(f"StoreStream.rows = {rows} is not valid: rows must follow each other (step 1).")
        if stop - start < batch:
            raise VectorError(
                f"{source.name} has {counted(max(stop - start, 0), 'row')} to train on ({source.rows:,} in all), fewer "
                f"than one batch of {batch:,}. Capture more text, hold out fewer rows, or lower the batch."
            )
        self.batch = batch
        self.passes = passes
        self.preprocessing = preprocessing
        row_bytes = source.row_bytes(self._site)
        whole = memory_mb * 2**20 / row_bytes
        memory_rows = int(whole) if stop - start <= whole else int(whole / 2)
        self._shuffle = Shuffle(start=start, stop=stop, batch=batch, memory_rows=memory_rows, chunk=chunk, seed=seed)
        self.rows = self._shuffle.rows
        self.batches = self._shuffle.batches * passes
        self._given = 0
        self._block: tuple[tuple[int, int], Coded, Int[Tensor, " n"]] | None = None
        self._next: tuple[tuple[int, int], Future[Coded]] | None = None
        self._reader: ThreadPoolExecutor | None = None

    @property
    def site(self) -> Site:
        """Site of the rows."""
        return self._site

    @property
    def source(self) -> RowSource:
        """Source of the rows."""
        return self._source

    @property
    def order(self) -> dict[str, Any]:
        """Settings that decide the order of rows: equal for two streams that give the same rows together."""
        order = self._shuffle
        return {
            "rows in the store": self._source.rows,
            "rows to train on": f"{order.start}:{order.stop}",
            "batches": order.batch,
            "passes": self.passes,
            "seeds": order.seed,
            "chunks": order.chunk,
            "rows in memory": order.block_batches * order.batch,
        }

    def __len__(self) -> int:
        """Batches in all passes."""
        return self.batches

    def __iter__(self) -> Iterator[Float[Tensor, "batch d_in"]]:
        """The batches that are left."""
        while self._given < self.batches:
            yield self.next_batch()

    def next_batch(self) -> Float[Tensor, "batch d_in"]:
        """The next batch, float32 and contiguous. Raises StopIteration at the end of the last pass."""
        if self._given >= self.batches:
            raise StopIteration
        number, index = divmod(self._given, self._shuffle.batches)
        block = self._shuffle.block_of(index)
        coded, order = self._rows_of(number, block)
        first = (index - block * self._shuffle.block_batches) * self.batch
        rows = coded.select(order[first : first + self.batch]).decode()
        self._given += 1
        return rows if self.preprocessing is None else self.preprocessing(rows)

    def state_dict(self) -> dict[str, Any]:
        """Number of batches given, and a digest of all that decides their order."""
        return {"given": self._given, "recipe": self._recipe()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another stream was. Raises RunError where its rows or their order were others."""
        if state["recipe"] != self._recipe():
            raise RunError(
                f"The stream's state is from other rows than those of {place_of(self._source, self._site)}, or "
                "from another seed, batch, memory_mb or chunk. Resume with the recipe that the run began with."
            )
        self._given = int(state["given"])

    def _recipe(self) -> str:
        order = self._shuffle
        return digest(
            [
                *(self._source.digest, str(self._site), order.start, order.stop, order.batch),
                *(order.block_batches, order.chunk, order.seed),
            ]
        )

    def _rows_of(self, number: int, block: int) -> tuple[Coded, Int[Tensor, " n"]]:
        """The rows of a block in memory, and the order to give them in; the block after it is read meanwhile."""
        key = (number, block)
        if self._block is None or self._block[0] != key:
            coded = self._take_read(key)
            self._block = (key, coded, self._shuffle.order(number, block, len(coded.values)))
            self._read_ahead(number, block)
        return self._block[1], self._block[2]

    def _take_read(self, key: tuple[int, int]) -> Coded:
        if self._shuffle.blocks == 1 and self._block is not None:
            return self._block[1]
        ahead, self._next = self._next, None
        self._block = None
        return ahead[1].result() if ahead is not None and ahead[0] == key else self._read(*key)

    def _read_ahead(self, number: int, block: int) -> None:
        key = (number, block + 1) if block + 1 < self._shuffle.blocks else (number + 1, 0)
        if self._shuffle.blocks > 1 and key[0] < self.passes:
            if self._reader is None:
                self._reader = ThreadPoolExecutor(1, thread_name_prefix="row-reader")
            self._next = (key, self._reader.submit(self._read, *key))

    def _read(self, number: int, block: int) -> Coded:
        """A block's rows in the order of the store."""
        ranges = self._shuffle.ranges(number if self._shuffle.blocks > 1 else 0, block)
        return self._source.gather(self._site, ranges)


@dataclass(frozen=True, kw_only=True)
class Shuffle:
    """Order of the rows start … stop - 1.

    Attributes:
        start, stop: which rows.
        batch: rows in a batch. What does not fill a batch at the end of a pass is left out; each pass leaves out
            others.
        memory_rows: rows in a block at most, though never less than a batch.
        chunk: neighbouring rows that are read together.
        seed: seed of all passes.
    """

    start: int
    stop: int
    batch: int
    memory_rows: int
    chunk: int
    seed: int

    @property
    def rows(self) -> int:
        """Rows in a pass, those left out at its end included."""
        return self.stop - self.start

    @property
    def batches(self) -> int:
        """Batches in a pass."""
        return self.rows // self.batch

    @cached_property
    def blocks(self) -> int:
        """Blocks in a pass."""
        return -(-self.batches // max(self.memory_rows // self.batch, 1))

    @cached_property
    def block_batches(self) -> int:
        """Batches in a block; the last block may have fewer, and all are of nearly equal size."""
        return -(-self.batches // self.blocks)

    def block_of(self, batch: int) -> int:
        """Block that a batch of a pass comes from."""
        return batch // self.block_batches

    def ranges(self, number: int, block: int) -> list[tuple[int, int]]:
        """Runs of rows that a block of pass `number` holds, in the order of the store: (first, one past the last)."""
        order = numpy_generator(self.seed, "chunks", number).permutation(-(-self.rows // self.chunk))
        first = self.start + order * self.chunk
        last = np.minimum(first + self.chunk, self.stop)
        ends = np.cumsum(last - first)
        low = block * self.block_batches * self.batch
        high = self.rows if block == self.blocks - 1 else low + self.block_batches * self.batch
        begins = ends - (last - first)
        touched = np.flatnonzero((ends > low) & (begins < high))
        runs = [
            (int(first[i] + max(low - begins[i], 0)), int(last[i] - max(ends[i] - high, 0))) for i in touched.tolist()
        ]
        return sorted(runs)

    def order(self, number: int, block: int, rows: int) -> Int[Tensor, " rows"]:
        """In which order the rows of a block are given in pass `number`."""
        return torch.randperm(rows, generator=torch_generator(self.seed, "rows", number, block))
