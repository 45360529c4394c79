"""Transcoders and crosscoders, trained from captured activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations import JoinedStream, RowSource, Store, fit_preprocessing
from monosema.core import ConfigError, Progress, Site, VectorError
from monosema.dictionaries import Metadata, Trainable, at_sites, dictionary_config
from monosema.training.config import TrainConfig, TrainResult
from monosema.training.trainer import train

Place = tuple[RowSource, Site | str]
"""A site, and the store that holds it."""


def train_transcoder(
    store: RowSource,
    read: Site | str,
    written: Site | str,
    out: Path,
    config: TrainConfig | None = None,
    *,
    held_out: int = 0,
    batch: int = 4096,
    passes: int = 1,
    progress: Progress | None = None,
    **dictionary: Any,
) -> TrainResult:
    """Train a transcoder from one site of a store to another, and save it.

    Args:
        read: the site it reads, such as "3.mlp_in".
        written: the site it writes, such as "3.mlp_out"; stands in the metadata as ``hook_name_out``.
        out: receives what `train` writes.
        held_out: rows at the end of the store that are not trained on, but measured.
        batch, passes: of the stream.
        dictionary: fields of `dictionary_config`, such as n_latents, activation and k.

    Raises as `train` does, and what the stream raises.
    """
    read, written = Site.parse(read), Site.parse(written)
    metadata = at_sites(Metadata(), [read, written], transcodes=True)
    seed = (config or TrainConfig()).seed
    places = [(store, read), (store, written)]
    widths = [store.width(site) for store, site in places]
    made = dictionary_config("transcoder", **dictionary).make(widths, metadata, seed)
    return _train(made, places, out, config, held_out, batch, passes, progress)


def train_crosscoder(
    places: Sequence[Place],
    out: Path,
    config: TrainConfig | None = None,
    *,
    held_out: int = 0,
    batch: int = 4096,
    passes: int = 1,
    progress: Progress | None = None,
    **dictionary: Any,
) -> TrainResult:
    """Train a crosscoder over several sites, and save it.

    Args:
        places: sites and the stores that hold them: one store and several of its sites, or the stores of two models
            that were captured on the same text.
        out, held_out, batch, passes: as for `train_transcoder`.
        dictionary: fields of `dictionary_config`, such as n_latents, activation and k.

    Raises:
        ConfigError: fewer than two sites, or more than two models.
        VectorError: the sites differ in width, or rows are not the same tokens.
    """
    if len(places) < 2:
        raise ConfigError(f"A crosscoder needs two sites at least, but was given {len(places)}.")
    widths = {store.width(site) for store, site in places}
    if len(widths) > 1:
        said = ", ".join(f"{store.width(site)} for {Site.parse(site).short} of {store.name}" for store, site in places)
        raise VectorError(f"The sites of a crosscoder must have one width, but they have {said}.")
    metadata = at_sites(Metadata(), _named(places), transcodes=False)
    seed = (config or TrainConfig()).seed
    made = dictionary_config("crosscoder", **dictionary).make([*widths] * len(places), metadata, seed)
    return _train(made, places, out, config, held_out, batch, passes, progress)


def _named(places: Sequence[Place]) -> list[Site]:
    """The sites; those of a second model's store are marked so."""
    models = list(dict.fromkeys(_model_of(store) for store, _ in places))
    if len(models) > 2:
        raise ConfigError(f"A crosscoder is over sites of one model or two, not of {len(models)}: {', '.join(models)}.")
    sites = [(Site.parse(site), _model_of(store) in models[1:]) for store, site in places]
    return [replace(site, other=site.other or second) for site, second in sites]


def _model_of(store: RowSource) -> str:
    """The model that a store was captured from; vectors of unknown origin are a model's of their own."""
    return str(store.manifest.recipe["model_digest"]) if isinstance(store, Store) else store.name


def _train(
    dictionary: Trainable,
    places: Sequence[Place],
    out: Path,
    config: TrainConfig | None,
    held_out: int,
    batch: int,
    passes: int,
    progress: Progress | None,
) -> TrainResult:
    config = config or TrainConfig()
    stop = min(store.rows for store, _ in places) - held_out
    rows = slice(0, max(stop, 0))
    fits = [fit_preprocessing(store, site, rows=rows) for store, site in places]
    stream = JoinedStream.over(places, preprocessing=fits, rows=rows, batch=batch, passes=passes, seed=config.seed)
    heldout = _rows(places, stop, stop + held_out) if held_out else None
    return train(dictionary, stream, config, out, heldout=heldout, progress=progress)


def _rows(places: Sequence[Place], start: int, stop: int) -> Float[Tensor, "n row_width"]:
    return torch.cat([store.read(site, start, stop) for store, site in places], dim=1)
