"""Train, encode and evaluate without a run folder: on tensors, arrays, files and stores."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monosema.activations import Rows, open_rows
from monosema.core import ConfigError, Site
from monosema.data import ListCorpus, TextConfig, open_corpus, token_batches
from monosema.dictionaries import (
    Codes,
    Dictionary,
    SparseCoder,
    dictionary_config,
    load_dictionary,
    reads_elsewhere,
    sites_read,
    written_at,
)
from monosema.evaluation import CONTROL_ROWS, Evaluation, EvaluationConfig, controls_at, evaluate_crosscoder
from monosema.evaluation import evaluate as evaluate_at
from monosema.models import LanguageModel, load_model
from monosema.runs.encode import site_of
from monosema.runs.vectors import VectorRecipe, train_vectors
from monosema.training import TrainConfig, held_out_rows

STEPS = 1_000
"""Steps that training makes at least, where nobody says how often every row is seen."""
ENCODED = 4_096
"""Rows that are encoded at a time."""


def train(
    rows: Rows,
    out: str | Path | None = None,
    *,
    n_latents: int = 4096,
    architecture: str = "topk",
    site: Site | str | None = None,
    batch: int | None = None,
    passes: int | None = None,
    training: TrainConfig | None = None,
    device: str | None = None,
    **settings: Any,
) -> Dictionary:
    """Train a dictionary on vectors, and return it, without gradients.

    Args:
        rows: a matrix of vectors, one a row, as a tensor, an array or a file; or a captured store, or its folder.
        out: folder that receives the dictionary and the record of its training; None keeps neither.
        architecture: "topk", "jumprelu", … (`monosema.dictionaries.architectures`); `settings` are its fields: k, …
        site: of a store with several.
        batch: rows in a batch; None is 4,096, or of few rows a sixteenth, at least 32.
        passes: how often every row is seen; None is as often as makes 1,000 steps.
        training: learning rate, seed, and all else that decides how training goes.

    Raises:
        VectorError: rows that can't be trained on, or too few of them.
        ConfigError: a setting that the architecture doesn't have or that is out of range, or no site named of several.
        RunError: `out` holds another dictionary.
    """
    source = open_rows(rows)
    kept = source.rows - held_out_rows(source.rows)
    batch = batch or min(4096, max(min(kept, 32), kept // 16))
    recipe = VectorRecipe(
        site=None if site is None else (Site.parse(site),),
        dictionary=dictionary_config(architecture, n_latents=n_latents, **settings),
        batch=batch,
        passes=passes or -(-STEPS // max(1, kept // batch)),
        training=training or TrainConfig(),
    )
    with tempfile.TemporaryDirectory() as folder:
        missed = train_vectors(source, out or folder, recipe, device).missed
        if missed is not None:
            warnings.warn(missed, stacklevel=2)
        return load_dictionary(out or folder)


@torch.no_grad()
def encode(dictionary: Dictionary | str | Path, rows: Rows, site: Site | str | None = None) -> Codes:
    """Return the codes of all rows, without gradients; memory rows × the most latents that are active on one.

    Args:
        dictionary: a dictionary, its folder, or its name on the hub.
        rows: as for `train`; of tensors and arrays, vectors of any leading shape, which the codes keep.
        site: of a store with several; None is the one that the dictionary was trained on.
    """
    coder = load_dictionary(dictionary) if isinstance(dictionary, (str, Path)) else dictionary
    shape = None
    if isinstance(rows, (torch.Tensor, np.ndarray)) and rows.ndim != 2:
        rows, shape = rows.reshape(-1, rows.shape[-1]), tuple(rows.shape[:-1])
    source = open_rows(rows, check=False)
    place = site_of(source, coder, site)
    device = coder.directions.device
    starts = range(0, source.rows, ENCODED)
    parts = [coder.encode(source.read(place, at, min(at + ENCODED, source.rows)).to(device)) for at in starts]
    return Codes.joined(parts).in_shape(shape)


def evaluate(
    model: LanguageModel | str | Path,
    dictionary: Dictionary | str | Path,
    text: str | Path | Sequence[str] = "builtin",
    *,
    site: Site | str | None = None,
    tokens: int = 20_000,
    controls: bool = True,
    config: EvaluationConfig | None = None,
) -> Evaluation:
    """Return the metrics of a dictionary on held-out text, beside PCA and random directions.

    Args:
        model: a model, or what `load_model` takes.
        dictionary: a dictionary, its folder, or its name on the hub.
        text: what `open_corpus` takes: its held-out documents are evaluated on, and controls fitted on the others. Or
            texts, a sequence of them: evaluated on as they are, without controls.
        site: where the dictionary reads; None is what its metadata says.
        tokens: tokens to evaluate on, at most.
        controls: evaluate PCA, with as many components as the dictionary's L0, and random directions too.

    Raises:
        ConfigError: no site is known, or the dictionary doesn't fit it.
        CorpusError: no text, or none of it held out.
    """
    model = load_model(model) if isinstance(model, (str, Path)) else model
    coder = load_dictionary(dictionary) if isinstance(dictionary, (str, Path)) else dictionary
    place = site or coder.metadata.site
    if place is None or (site is None and str(place) == "vectors" and place not in model.sites()):
        raise ConfigError('The dictionary does not say which site it reads: give site="3.resid_post", or where it is.')
    corpus = open_corpus(text) if isinstance(text, (str, Path)) else ListCorpus(text)
    window = min(coder.metadata.context or 128, model.context)
    cut = TextConfig(window=window, batch=8, tokens=tokens, split="heldout")
    if isinstance(corpus, ListCorpus):
        cut = cut.replace(split="all", batch=1)
    read = sites_read(coder, Site.parse(place))
    _, written = written_at(coder, read[-1])
    beside = None
    if controls and cut.split == "heldout":
        batches = token_batches(corpus, model.tokenizer, cut.replace(split="train", tokens=CONTROL_ROWS))
        beside, _ = controls_at(model, coder, read, written, batches)
    batches = token_batches(corpus, model.tokenizer, cut)
    if isinstance(coder, SparseCoder) and coder.n_sites > 1:
        return evaluate_crosscoder(model, coder, batches, config, beside)
    return evaluate_at(model, coder, written, batches, config, beside, read=read if reads_elsewhere(coder) else None)
