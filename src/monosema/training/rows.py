"""Rows to train on, and rows that are held out: of a file, of a captured store, or of several sites side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations import JoinedStream, Rows, RowSource, StoreStream, fit_preprocessing, open_rows
from monosema.core import Progress, Site, VectorError, counted
from monosema.dictionaries import Trainable
from monosema.training.config import TrainConfig, TrainResult
from monosema.training.finished import refuse_untrained
from monosema.training.trainer import train

HELD_OUT = 20_480
"""Rows at the end that are not trained on, where there are enough."""
MEMORY_MB = 32.0
"""Megabytes of rows in memory at once: bounds the run's memory, whatever the file's size."""
Place = tuple[RowSource, Site]
"""A site, and the store that holds it."""


def held_out_rows(rows: int) -> int:
    """Return how many rows at the end are held out: 20,480, and at most a tenth of all."""
    return min(HELD_OUT, rows // 10)


@dataclass(frozen=True)
class TrainingRows:
    """Rows to train on, and rows at the end that are held out.

    Attributes:
        source: a store, or vectors.
        kept: rows that are held out.
    """

    source: RowSource
    kept: int

    @classmethod
    def open(cls, rows: Rows, batch: int, heldout: int | None = None) -> TrainingRows:
        """Open rows in any form; `heldout` None holds out as many as `held_out_rows` says.

        Raises VectorError where the rest does not fill a batch.
        """
        source = open_rows(rows)
        return cls(source, _kept(source, batch, heldout))

    @property
    def rows(self) -> slice:
        """The rows that are trained on."""
        return slice(0, self.source.rows - self.kept)

    def stream(
        self, sites: Sequence[Site], *, batch: int, seed: int, passes: int, memory_mb: float = MEMORY_MB
    ) -> StoreStream | JoinedStream:
        """Return batches of a site, or of several side by side, centred and scaled as the rows to train on say."""
        return _stream([(self.source, site) for site in sites], self.rows, batch, seed, passes, memory_mb)

    def held_out(self, sites: Sequence[Site]) -> Float[Tensor, "n row_width"] | None:
        """Return the rows that are not trained on, of several sites side by side; None where there are none."""
        return _read([(self.source, site) for site in sites], self.rows.stop, self.source.rows)


def train_on_rows(
    dictionary: Trainable,
    places: Sequence[Place],
    out: Path,
    config: TrainConfig | None = None,
    *,
    batch: int = 4096,
    passes: int = 1,
    heldout: int | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a dictionary on the rows of one site, or of several sites side by side, and save it.

    Args:
        dictionary: for rows that hold the sites in this order: of a transcoder what it reads and what it writes.
        places: sites and the stores that hold them: one store, or those of two models captured on the same text.
        out: receives what `train` writes.
        batch: rows in a batch.
        passes: how often every row is seen.
        heldout: rows at the end that are never trained on; None holds out as many as `held_out_rows` says.

    Raises:
        VectorError: rows that can't be trained on, too few of them, or sites whose rows are not the same tokens.
        ConfigError, RunError, AnomalyError, DiskFullError: as for `train`.
    """
    refuse_untrained(out)
    config = config or TrainConfig()
    shortest = min((source for source, _ in places), key=lambda source: source.rows)
    stop = shortest.rows - _kept(shortest, batch, heldout)
    stream = _stream(places, slice(0, stop), batch, config.seed, passes, MEMORY_MB)
    return train(dictionary, stream, config, out, heldout=_read(places, stop, shortest.rows), progress=progress)


def _kept(source: RowSource, batch: int, heldout: int | None) -> int:
    kept = held_out_rows(source.rows) if heldout is None else heldout
    if not 0 <= kept < source.rows or source.rows - kept < batch:
        raise VectorError(
            f"{source.name} has {counted(source.rows, 'row')}: with {kept:,} held out, "
            f"{max(source.rows - kept, 0):,} are left, and a batch takes {batch:,}. Give more rows, a smaller batch, "
            "or hold out fewer."
        )
    return kept


def _stream(
    places: Sequence[Place], rows: slice, batch: int, seed: int, passes: int, memory_mb: float
) -> StoreStream | JoinedStream:
    fits = [fit_preprocessing(source, site, rows=rows) for source, site in places]
    if len(places) > 1:
        return JoinedStream.over(
            places, preprocessing=fits, memory_mb=memory_mb, batch=batch, seed=seed, passes=passes, rows=rows
        )
    ((source, site),) = places
    return StoreStream(
        source, site, preprocessing=fits[0], memory_mb=memory_mb, batch=batch, seed=seed, passes=passes, rows=rows
    )


def _read(places: Sequence[Place], start: int, stop: int) -> Float[Tensor, "n row_width"] | None:
    if start >= stop:
        return None
    return torch.cat([source.read(site, start, stop) for source, site in places], dim=1)
