"""Train on any matrix of vectors: a file in, a dictionary out."""

from __future__ import annotations

from pathlib import Path

from monosema.activations import StoreStream, fit_preprocessing, open_rows
from monosema.core import Progress, VectorError
from monosema.dictionaries import Metadata, TopK, TopKConfig
from monosema.training.config import TrainConfig, TrainResult
from monosema.training.trainer import train

__all__ = ["HELD_OUT", "held_out_rows", "train_on_vectors"]

HELD_OUT = 20_480
"""Rows at the end that are not trained on, where there are enough."""
MEMORY_MB = 32.0
"""Megabytes of rows in memory at once: bounds the run's memory, whatever the file's size."""


def held_out_rows(rows: int) -> int:
    """How many rows at the end are held out: 20,480, and at most a tenth of all."""
    return min(HELD_OUT, rows // 10)


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
    """
    config = config or TrainConfig()
    source = open_rows(path)
    kept = held_out_rows(source.rows) if heldout is None else heldout
    if not 0 <= kept < source.rows or source.rows - kept < batch:
        raise VectorError(
            f"{path} has {source.rows:,} rows: with {kept:,} held out, {max(source.rows - kept, 0):,} are left, and a "
            f"batch takes {batch:,}. Give more rows, a smaller batch, or hold out fewer."
        )
    site = source.sites[0]
    rows = slice(0, source.rows - kept)
    stream = StoreStream(
        source,
        site,
        batch=batch,
        seed=config.seed,
        passes=passes,
        preprocessing=fit_preprocessing(source, site, rows=rows),
        rows=rows,
        memory_mb=MEMORY_MB,
    )
    width = source.width(site)
    metadata = Metadata(site=site, dataset=Path(path).name)
    dictionary = TopK(TopKConfig(d_in=width, n_latents=latents, k=k), metadata, seed=config.seed)
    held = source.read(site, source.rows - kept, source.rows) if kept else None
    return train(dictionary, stream, config, Path(out), heldout=held, progress=progress)
