"""The order in which a stream gives rows: an exact shuffle with bounded memory, computed and never stored.

The rows are cut into small chunks of neighbours. Each pass deals the chunks of the whole store in random order into
blocks that fit into memory, and shuffles the rows of each block. So a batch mixes text from everywhere, the disk is
read in runs of a chunk, and the place of every batch follows from (seed, pass, index) alone: to resume there is
nothing to replay. Rows of one window of text lie in one chunk and so in one block, spread over all of its batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from monosema.core import numpy_generator, torch_generator


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
