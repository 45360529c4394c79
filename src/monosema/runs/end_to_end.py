"""End-to-end training within a run: the model, the text as windows of tokens, and what was captured for the rest."""

from __future__ import annotations

from pathlib import Path

from monosema.activations import (
    Preprocessing,
    Store,
    StoreStream,
    fit_preprocessing,
    open_vectors,
    windows_width,
    write_windows,
)
from monosema.core import ConfigError, Site
from monosema.runs.context import RunContext
from monosema.training import EndToEnd, TrainConfig, TrainingRows

NEIGHBOURS = 16
"""Windows that are read together."""


def windows_path(ctx: RunContext) -> Path:
    """Return the file of the text as windows of tokens, there while a dictionary learns from it."""
    return ctx.dictionary_dir / "windows.npy"


class WindowsOfRun:
    """A run's text as windows of tokens, and dictionaries that learn from what the model does on them.

    The last windows, whose activations are held out, are not trained on.

    Attributes:
        stream: the windows to train on.
    """

    def __init__(self, ctx: RunContext, store: Store, rows: TrainingRows, path: Path) -> None:
        """Of several processes, the first writes the windows to `path`, where they are not there yet."""
        recipe, text = ctx.recipe, ctx.recipe.text
        self._ctx, self._store, self._rows = ctx, store, rows
        self._width = text.window if text.mode == "windows" else text.max_sentence

        def write() -> None:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_windows(path, ctx.batches(text), self._width)

        ctx.mesh.by_first(write)
        source = open_vectors(path, check=False)
        self._kept = store.rows / source.rows
        self.stream = StoreStream(
            source,
            batch=max(1, round(recipe.stream.batch / self._kept)),
            seed=recipe.training.seed,
            passes=recipe.stream.passes,
            rows=slice(0, source.rows - (int(rows.kept / self._kept) + 2 if rows.kept else 0)),
            preprocessing=Preprocessing.identity(windows_width(self._width)),
            memory_mb=recipe.stream.memory_mb,
            chunk=NEIGHBOURS,
        )

    def objective(self, site: Site, config: TrainConfig) -> EndToEnd:
        """The loss of a dictionary of a site that learns from the model's output.

        Centring, scale, and the norm beyond which tokens are left out are those of the captured activations.
        """
        typical = self._store.manifest.typical_norms.get(str(site))
        limit = self._ctx.recipe.capture.extreme_norm
        return EndToEnd(
            self._ctx.model,
            site,
            fit_preprocessing(self._store, site, rows=self._rows.rows),
            window=self._width,
            kept=self._kept,
            downstream=config.downstream,
            largest=typical * limit if typical and limit is not None else None,
        )


def refuse_end_to_end(config: TrainConfig, what: str) -> None:
    """Raises ConfigError where training without a model at hand is to be end-to-end."""
    if config.objective == "end-to-end":
        raise ConfigError(
            f"{what} learns from stored activations, and --objective end-to-end runs the model itself. Train in a run: "
            "monosema train RUN --objective end-to-end."
        )
