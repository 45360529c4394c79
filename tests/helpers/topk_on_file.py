"""A TopK dictionary trained on the rows of a file, as most tests of training want it."""

from __future__ import annotations

from pathlib import Path

from monosema.activations import open_rows
from monosema.dictionaries import Metadata, make_coder
from monosema.training import TrainConfig, TrainResult, train_on_rows


def train_on_vectors(
    path: str | Path,
    *,
    latents: int,
    k: int,
    batch: int,
    out: str | Path,
    passes: int = 1,
    config: TrainConfig | None = None,
) -> TrainResult:
    """Train, with the configuration's seed, and hold out a tenth of the rows."""
    config, source = config or TrainConfig(), open_rows(path)
    site = source.sites[0]
    about = Metadata(site=site, dataset=Path(path).name)
    dictionary = make_coder("topk", source.width(site), latents, k=k, metadata=about, seed=config.seed)
    return train_on_rows(dictionary, [(source, site)], Path(out), config, batch=batch, passes=passes)
