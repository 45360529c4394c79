"""Train on any matrix of vectors: a file in, a dictionary out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations import JoinedStream, RowSource, StoreStream, fit_preprocessing, open_rows
from monosema.core import Progress, Site, VectorError
from monosema.dictionaries import Metadata, SparseCoder, TopK
from monosema.training.config import TrainConfig, TrainResult
from monosema.training.finished import refuse_untrained
from monosema.training.trainer import train

HELD_OUT = 20_480
"""Rows at the end that are not trained on, where there are enough."""
MEMORY_MB = 32.0
"""Megabytes of rows in memory at once: bounds the run's memory, whatever the file's size."""


def held_out_rows(rows: int) -> int:
    """How many rows at the end are held out: 20,480, and at most a tenth of all."""
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
    def open(cls, path: str | Path, batch: int, heldout: int | None = None) -> TrainingRows:
        """Rows of a file or a store; None holds out as many as `held_out_rows` says.

        Raises VectorError where what is left does not fill a batch.
        """
        source = open_rows(path)
        kept = held_out_rows(source.rows) if heldout is None else heldout
        if not 0 <= kept < source.rows or source.rows - kept < batch:
            raise VectorError(
                f"{path} has {source.rows:,} rows: with {kept:,} held out, {max(source.rows - kept, 0):,} are left, "
                f"and a batch takes {batch:,}. Give more rows, a smaller batch, or hold out fewer."
            )
        return cls(source, kept)

    @property
    def rows(self) -> slice:
        """Which rows are trained on."""
        return slice(0, self.source.rows - self.kept)

    def stream(
        self, sites: Sequence[Site], *, batch: int, seed: int, passes: int, memory_mb: float = MEMORY_MB
    ) -> StoreStream | JoinedStream:
        """Batches of a site, or of several side by side, centred and scaled by what the rows to train on say."""
        fits = [fit_preprocessing(self.source, site, rows=self.rows) for site in sites]
        shape: dict[str, Any] = {"batch": batch, "seed": seed, "passes": passes, "rows": self.rows}
        if len(sites) == 1:
            return StoreStream(self.source, sites[0], preprocessing=fits[0], memory_mb=memory_mb, **shape)
        places = [(self.source, site) for site in sites]
        return JoinedStream.over(places, preprocessing=fits, memory_mb=memory_mb, **shape)

    def held_out(self, sites: Sequence[Site]) -> Float[Tensor, "n row_width"] | None:
        """Rows that are not trained on, of several sites side by side; None where there are none."""
        if not self.kept:
            return None
        return torch.cat([self.source.read(site, self.rows.stop, self.source.rows) for site in sites], dim=1)


def train_on_vectors(
    path: str | Path,
    *,
    latents: int,
    k: int = 32,
    batch: int = 4096,
    out: str | Path,
    passes: int = 1,
    config: TrainConfig | None = None,
    heldout: int | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a TopK dictionary on the rows of a .npy, .safetensors or .parquet file, or of a captured store.

    Args:
        latents: number of latents.
        k: latents kept per row.
        batch: rows in a batch.
        out: folder for the dictionary.
        passes: how often every row is seen.
        heldout: rows at the end that are never trained on; None is `held_out_rows`' rule.

    Raises:
        VectorError: rows that can't be trained on, or too few of them; the message says how many there are.
        ConfigError: a number out of range.
        RunError: `out` holds another dictionary.
    """
    refuse_untrained(Path(out))
    config = config or TrainConfig()
    rows = TrainingRows.open(path, batch, heldout)
    site = rows.source.sites[0]
    stream = rows.stream([site], batch=batch, seed=config.seed, passes=passes)
    metadata = Metadata(site=site, dataset=Path(path).name)
    dictionary = SparseCoder(stream.d_in, latents, TopK(k=k), metadata=metadata, seed=config.seed)
    return train(dictionary, stream, config, Path(out), heldout=rows.held_out([site]), progress=progress)
