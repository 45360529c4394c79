"""The dictionaries of an experiment: activations of some layers, and small dictionaries of them, in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.activations import ActivationStream, CaptureConfig, JoinedStream, Store, capture_to_store
from monosema.core import Config, Site, progress_bar
from monosema.data import TextConfig, open_corpus, token_batches
from monosema.data.batches import TokenBatches
from monosema.data.corpus import Split
from monosema.dictionaries import Dictionary, dictionary_config, load_dictionary
from monosema.models import LanguageModel
from monosema.runs.sweeps import sweep_vectors
from monosema.runs.vectors import VectorRecipe
from monosema.training import TrainConfig, held_out_rows

SHARD_ROWS = 4096
"""Rows of a shard: a capture that is killed loses no more."""
FITTED_ROWS = 16_384
"""Rows that PCA and random directions are fitted on."""


class TrainingChoice(Config):
    """Text and size of the dictionaries of an experiment."""

    text: str = "builtin"
    """Arguments of `open_corpus`."""
    tokens: int = Field(500_000, gt=0)
    """Tokens of the text that dictionaries are trained on."""
    skip_first: int = Field(0, ge=0)
    """Tokens at the beginning of each window that are left out besides the first (SmolLM2: 2)."""
    ratio: int = Field(4, gt=0)
    """Latents for each value of an activation."""
    alphas: tuple[float, ...] = (0.0, 1e-3, 3e-3, 1e-2)
    """Weights of the sparsity penalty; 0 is the paper's own control."""
    seeds: int = Field(3, gt=0)
    """Dictionaries of each weight."""
    batch: int = Field(1024, gt=0)
    """Rows in a step."""
    passes: int = Field(2, gt=0)
    """Times that every row is seen."""


@dataclass(frozen=True)
class Member:
    """One trained dictionary: its site, the weight of its penalty, its seed, and held-out metrics."""

    site: Site
    alpha: float
    seed: int
    l0: float | None
    fvu: float | None
    folder: Path

    def open(self) -> Dictionary:
        """Load it."""
        return load_dictionary(self.folder)


def sparse_name(alpha: float) -> str:
    """Name dictionaries with this weight of the penalty."""
    return f"sparse, α = {alpha:g}"


def text_of(model: LanguageModel, choice: TrainingChoice, tokens: int, split: Split = "train") -> TokenBatches:
    """Return batches of the experiment's text."""
    cut = TextConfig(
        window=min(128, model.context),
        tokens=tokens,
        split=split,
        skip_first=choice.skip_first,
    )
    return token_batches(open_corpus(choice.text), model.tokenizer, cut)


def captured(model: LanguageModel, sites: Sequence[Site], choice: TrainingChoice, folder: Path) -> Store:
    """Capture what dictionaries are trained on; what was captured before is kept."""
    with progress_bar("capture", choice.tokens, "tokens") as bar:
        batches = text_of(model, choice, choice.tokens)
        return capture_to_store(model, batches, sites, folder, CaptureConfig(shard_rows=SHARD_ROWS), progress=bar)


def trained(store: Store, choice: TrainingChoice, out: Path, device: str | None = None) -> list[Member]:
    """Train dictionaries as in the paper (tied weights, ReLU, L1) at all sites of a store, in one pass over it.

    A kill loses no more than a minute of it.
    """
    sites = store.sites
    width = choice.ratio * store.width(sites[0])
    recipe = VectorRecipe(
        site=(sites[0],),
        dictionary=dictionary_config("tied_l1", n_latents=width),
        batch=choice.batch,
        passes=choice.passes,
        training=TrainConfig(checkpoint_seconds=30.0, keep=1),
    )
    grid = {
        "site": [site.short for site in sites],
        "dictionary.l1_coefficient": [f"{alpha:g}" for alpha in choice.alphas],
        "seed": [str(seed) for seed in range(choice.seeds)],
    }
    result = sweep_vectors(store.path, out, recipe, grid, device)
    return [_member(trial.settings, trial.l0, trial.fvu, out / trial.name) for trial in result.trials]


def _member(settings: Mapping[str, str], l0: float | None, fvu: float | None, folder: Path) -> Member:
    site, alpha, seed = (settings[key] for key in ("site", "dictionary.l1_coefficient", "seed"))
    return Member(Site.parse(site), float(alpha), int(seed), l0, fvu, folder)


def sample_of(store: Store, site: Site, rows: int = FITTED_ROWS) -> Float[Tensor, "rows d"]:
    """Return rows of a store that dictionaries were trained on, drawn from all over it."""
    kept = slice(0, store.rows - held_out_rows(store.rows))
    batch = min(1024, kept.stop)
    stream: ActivationStream = JoinedStream.over([(store, site)], batch=batch, seed=0, memory_mb=256, rows=kept)
    wanted = max(1, min(rows // batch, stream.batches or 1))
    return torch.cat([part.float().clone() for part, _ in zip(stream, range(wanted), strict=False)])
