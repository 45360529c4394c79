"""End-to-end training within a run: the model, the text as windows of tokens, and what was captured for the rest."""

from __future__ import annotations

from pathlib import Path

from monosema.activations import (
    Preprocessing,
    SplicedModel,
    Store,
    StoreStream,
    fit_preprocessing,
    open_vectors,
    write_windows,
)
from monosema.core import ConfigError
from monosema.dictionaries import Trainable
from monosema.runs.workbench import Workbench
from monosema.training import EndToEnd, TrainConfig, TrainingRows

__all__ = ["end_to_end", "refuse_end_to_end", "windows_path"]

NEIGHBOURS = 16
"""Windows that are read together."""


def windows_path(bench: Workbench) -> Path:
    """Where the text lies as windows of tokens while a dictionary learns from it; removed at the end."""
    return bench.dictionary / "windows.npy"


def end_to_end(
    bench: Workbench, dictionary: Trainable, rows: TrainingRows, store: Store
) -> tuple[EndToEnd, StoreStream]:
    """A dictionary that learns from the model's output, and the text that it learns from.

    Centring, scale, and the norm beyond which tokens are left out are those of the captured activations. The last
    windows, whose activations are held out, are not trained on.
    """
    recipe = bench.recipe
    text, path = recipe.text, windows_path(bench)
    width = text.window if text.mode == "windows" else text.max_sentence
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_windows(path, bench.batches(text), width)
    source = open_vectors(path, check=False)
    kept = store.rows / source.rows
    stream = StoreStream(
        source,
        batch=max(1, round(recipe.stream.batch / kept)),
        seed=recipe.training.seed,
        passes=recipe.stream.passes,
        rows=slice(0, source.rows - (int(rows.kept / kept) + 2 if rows.kept else 0)),
        preprocessing=Preprocessing.identity(width),
        memory_mb=recipe.stream.memory_mb,
        chunk=NEIGHBOURS,
    )
    config = recipe.training
    splice = SplicedModel.with_later_residuals if config.downstream > 0 else SplicedModel
    typical = store.manifest.typical_norms.get(str(bench.site))
    limit = recipe.capture.extreme_norm
    trained = EndToEnd(
        dictionary,
        splice(bench.model, bench.site),
        fit_preprocessing(store, bench.site, rows=rows.rows),
        window=width,
        kept=kept,
        downstream=config.downstream,
        largest=typical * limit if typical and limit is not None else None,
    )
    return trained, stream


def refuse_end_to_end(config: TrainConfig, what: str) -> None:
    """Raises ConfigError where training without a model at hand is to be end-to-end."""
    if config.objective == "end-to-end":
        raise ConfigError(
            f"{what} learns from stored activations, and --objective end-to-end runs the model itself. Train one "
            "dictionary in a run: monosema train RUN --objective end-to-end."
        )
