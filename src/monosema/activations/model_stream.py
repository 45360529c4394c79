"""Batches straight from the model: no disk, the same protocol and the same resume as from a store.

The rows of the text are taken in blocks that fit into memory, and each block is shuffled. A block is a whole number of
batches; where it ends inside a token batch, the next block begins with the rest of it. To resume, the token batches of
the current block alone are computed again, and the batches that follow are equal to the last bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from monosema.activations.preprocessing import Preprocessing
from monosema.activations.rows import RowTaker
from monosema.core import ConfigError, CorpusError, RunError, Site, VectorError, digest, torch_generator
from monosema.data import TokenBatch
from monosema.models import LanguageModel


class ModelStream:
    """A stream of the activations that the model computes as they are asked for."""

    def __init__(
        self,
        model: LanguageModel,
        token_batches: Callable[[], Iterator[TokenBatch]],
        site: Site | str,
        *,
        batch: int = 4096,
        seed: int = 0,
        passes: int = 1,
        preprocessing: Preprocessing | None = None,
        memory_mb: int | float = 512,
        extreme_norm: float | None = 10.0,
    ) -> None:
        """Start at the first batch of the first pass; one token batch is computed to learn the width.

        Args:
            token_batches: gives the token batches from the first on, each time it is called.
            site: which site.
            batch: rows in a batch.
            seed: seed of the order.
            passes: how often the text is read; the order differs each time.
            preprocessing: applied to every batch.
            memory_mb: megabytes that the rows of a block may take; with more, distant rows meet in a batch.
            extreme_norm: leave out tokens whose norm is beyond this many times the median norm; None keeps them.

        Rows that don't fill a batch at the end of a pass are left out. Raises ConfigError for values out of range,
        CorpusError where there is no text.
        """
        for name, value in (("batch", batch), ("passes", passes), ("memory_mb", memory_mb)):
            if value <= 0:
                raise ConfigError(f"ModelStream.{name} = {value} is not valid: give a number above 0.")
        self._token_batches = token_batches
        self._site = Site.parse(site)
        self._seed, self._passes = seed, passes
        self._take = RowTaker(model, [self._site], extreme_norm)
        self.batch = batch
        self.preprocessing = preprocessing
        self.rows: int | None = None
        self.batches: int | None = None
        first = next(iter(token_batches()), None)
        if first is None:
            raise CorpusError("The text gives no batch of tokens.")
        sample = self._take(first).at(self._site)
        self.d_in = sample.shape[1]
        fitting = int(memory_mb * 2**20 / (self.d_in * sample.element_size()))
        self._block_rows = max(fitting // batch, 1) * batch
        self._recipe = digest(
            [model.digest, str(model.dtype), str(self._site), batch, seed, self._block_rows, extreme_norm]
        )
        self._number = 0
        self._text = self._open_text(0, 0)
        self._begin = self._text.place
        self._block: tuple[Tensor, Int[Tensor, " n"]] | None = None
        self._given = 0

    def _open_text(self, token_batch: int, offset: int) -> _TextRows:
        return _TextRows(iter(self._token_batches()), self._take, self._site, token_batch, offset)

    def __iter__(self) -> Iterator[Float[Tensor, "batch d_in"]]:
        """The batches that are left."""
        while True:
            try:
                rows = self.next_batch()
            except StopIteration:
                return
            yield rows

    def next_batch(self) -> Float[Tensor, "batch d_in"]:
        """The next batch, float32 and contiguous. Raises StopIteration at the end of the last pass, and VectorError
        where the whole text does not fill one batch."""
        rows, order = self._current_block()
        index = order[self._given * self.batch : (self._given + 1) * self.batch]
        out = rows.index_select(0, index).to(torch.float32)
        self._given += 1
        return out if self.preprocessing is None else self.preprocessing(out)

    def _current_block(self) -> tuple[Tensor, Int[Tensor, " n"]]:
        """A block with a batch left in it."""
        while self._block is None or (self._given + 1) * self.batch > len(self._block[1]):
            if self._block is not None:
                self._block, self._given, self._begin = None, 0, self._text.place
            rows = self._text.take(self._block_rows)
            if len(rows) >= self.batch:
                generator = torch_generator(self._seed, "block", self._number, *self._begin)
                self._block = rows, torch.randperm(len(rows), generator=generator)
            elif self._begin == (0, 0):
                raise VectorError(
                    f"The text gives {len(rows):,} rows at {self._site.short}, fewer than one batch of {self.batch:,}. "
                    "Give more text, or lower the batch."
                )
            elif self._number + 1 == self._passes:
                raise StopIteration
            else:
                self._number += 1
                self._text = self._open_text(0, 0)
                self._begin = self._text.place
        return self._block

    def state_dict(self) -> dict[str, Any]:
        """Which pass, where in the text its block begins, and how many batches of the block are given."""
        return {"pass": self._number, "begin": list(self._begin), "given": self._given, "recipe": self._recipe}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another stream of the same recipe was. Raises RunError if it had another recipe."""
        if state["recipe"] != self._recipe:
            raise RunError(
                f"The stream's state is from another model, site, seed, batch or memory_mb than this one's "
                f"({self._site.short}). Resume with the recipe that the run began with."
            )
        self._number = int(state["pass"])
        token_batch, offset = state["begin"]
        self._text = self._open_text(int(token_batch), int(offset))
        self._begin = self._text.place
        self._block, self._given = None, int(state["given"])


class _TextRows:
    """Kept rows of one reading of the text, from a place on.

    Attributes:
        place: (token batch, kept rows of it before the next row).
    """

    def __init__(
        self, batches: Iterator[TokenBatch], take: RowTaker, site: Site, token_batch: int, offset: int
    ) -> None:
        self._batches = itertools.islice(batches, token_batch, None)
        self._take, self._site = take, site
        self._rest: Tensor | None = None
        self.place = (token_batch, offset)

    def take(self, n: int) -> Shaped[Tensor, "m width"]:
        """The next n rows, or fewer at the end of the text."""
        parts: list[Tensor] = []
        missing = n
        while missing:
            if self._rest is None:
                batch = next(self._batches, None)
                if batch is None:
                    break
                self._rest = self._take(batch).at(self._site)
            token_batch, offset = self.place
            piece = self._rest[offset : offset + missing]
            parts.append(piece)
            missing -= len(piece)
            self.place = (token_batch, offset + len(piece))
            if self.place[1] == len(self._rest):
                self._rest, self.place = None, (token_batch + 1, 0)
        return torch.cat(parts) if parts else torch.empty(0, 0)
