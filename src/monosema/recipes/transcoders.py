"""Transcoders of every MLP of a model, as attribution graphs need them: one folder with a dictionary for each layer."""

from __future__ import annotations

import shutil
from pathlib import Path

from monosema.activations import capture_to_store
from monosema.core import Site
from monosema.data import TextConfig, open_corpus, token_batches
from monosema.dictionaries import Metadata, SparseCoder, TopK, at_sites
from monosema.models import load_model
from monosema.training import TrainConfig, TrainResult, train_on_rows

READ, WRITTEN = "ln2.normalized", "mlp_out"
"""Components that a transcoder reads and writes: the MLP's input as the norm leaves it, and its output."""


def transcoders(
    out: Path,
    model: str = "specimen",
    text: str = "builtin",
    *,
    tokens: int = 500_000,
    latents: int = 2048,
    k: int = 32,
    passes: int = 3,
    layers: range | None = None,
) -> list[TrainResult]:
    """Train a TopK transcoder for each layer, one after the other; go on where an earlier call stopped.

    Activations of a layer are on disk while it is trained only: tokens × 4 × d_model bytes.

    Args:
        out: receives a folder for each layer: ``layer-0``, ``layer-1``, ….
        layers: layers to train; None for all.
    """
    lm, corpus, results = load_model(model), open_corpus(text), list[TrainResult]()
    for layer in layers or range(lm.n_layers):
        sites = [Site(layer, READ), Site(layer, WRITTEN)]
        batches = token_batches(corpus, lm.tokenizer, TextConfig(tokens=tokens))
        store = capture_to_store(lm, batches, sites, out / "activations" / str(layer))
        about = at_sites(Metadata(lm.name, dataset=text, context=TextConfig().window), sites, transcodes=True)
        blank = SparseCoder(lm.d_model, latents, TopK(k=k), d_out=lm.d_model, metadata=about)
        places = [(store, site) for site in sites]
        results.append(train_on_rows(blank, places, out / f"layer-{layer}", TrainConfig(), passes=passes))
        shutil.rmtree(out / "activations" / str(layer))
    return results
