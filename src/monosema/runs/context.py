"""Context of a run's stages: the recipe, the folder, the model and the text, each opened when first needed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monosema.core import ConfigError, Site, choose_device
from monosema.data import Corpus, TextConfig, TokenBatches, open_corpus, token_batches
from monosema.dictionaries import SparseCoder
from monosema.items import ItemBatches, ItemModel
from monosema.models import LanguageModel, ModelPair, load_model, vector_width
from monosema.runs.given import digest_of, read_given, require_widths
from monosema.runs.recipe import Recipe
from monosema.training import held_out_rows
from monosema.training.distribution import Mesh


class RunContext:
    """A recipe on a folder, with what its stages read.

    Attributes:
        recipe: the resolved recipe.
        folder: the run folder.
        device: where to compute; None for the best there is.
        mesh: the processes that share the training.
    """

    def __init__(self, recipe: Recipe, folder: Path, device: str | None = None, mesh: Mesh | None = None) -> None:
        self.recipe = recipe
        self.folder = folder
        self.device = device
        self.mesh = mesh or Mesh()

    @functools.cached_property
    def model(self) -> LanguageModel:
        """The language model, or two side by side, or vectors of items in its place, on the device."""
        return open_model(self.recipe, self.device)

    @functools.cached_property
    def given(self) -> SparseCoder | None:
        """The dictionary that the recipe gives; None where the run trains its own."""
        return None if self.recipe.given is None else read_given(self.recipe, self.dictionary_dir)

    @functools.cached_property
    def widths(self) -> tuple[int, ...]:
        """Values of a row of activations at each site; of a site with heads, those of all heads together.

        Raises:
            SiteError: the model has no such site, or one without a fixed width.
            ConfigError: another number of sites than the architecture takes, a crosscoder's sites differ in width, or a
                given dictionary is of other widths.
        """
        widths = tuple(vector_width(self.model, site) for site in self.recipe.sites)
        if self.recipe.dictionary.architecture == "crosscoder" and len(set(widths)) > 1:
            said = ", ".join(f"{width} at {site.short}" for site, width in zip(self.recipe.sites, widths, strict=True))
            raise ConfigError(f"The sites of a crosscoder must have one width, but they have {said}.")
        if self.given is not None:
            require_widths(self.given, self.recipe, widths)
        return widths

    @functools.cached_property
    def corpus(self) -> Corpus:
        """The text, or the names of the items."""
        if self.recipe.of_items and isinstance(self.model, ItemModel):
            return self.model.items
        text = self.recipe.corpus
        return open_corpus(text.source, column=text.column, split=text.split, limit=text.limit)

    @functools.cached_property
    def sources(self) -> Mapping[str, str]:
        """Digests of the model, the text, and a given dictionary, by what people call them."""
        given = {} if self.given is None else {"the given dictionary": digest_of(self.given)}
        return {"the model": self.model.digest, "the text": self.corpus.digest, **given}

    @property
    def site(self) -> Site:
        """Site whose activations the dictionary reads; of a crosscoder, the last of its sites."""
        sites = self.recipe.sites
        return sites[0] if self.recipe.output_site else sites[-1]

    def batches(self, config: TextConfig) -> TokenBatches | ItemBatches:
        """Batches of the text from its first document on, or of the items."""
        if isinstance(self.model, ItemModel):
            return ItemBatches(self.model.items, config)
        return token_batches(self.corpus, self.model.tokenizer, config)

    def held_out_rows(self, rows: int) -> int:
        """Return how many of the captured rows, the last, are not trained on: of items none, since their hash held out
        a share before the capture."""
        return 0 if self.recipe.of_items else held_out_rows(rows)

    @property
    def store_dir(self) -> Path:
        """Folder of captured activations."""
        return self.folder / "activations"

    @property
    def dictionary_dir(self) -> Path:
        """Folder of the dictionary."""
        return self.folder / "dictionaries" / self.recipe.dictionary_name

    @property
    def evaluation_path(self) -> Path:
        """The evaluation on held-out text."""
        return self.folder / "evaluations" / self.recipe.dictionary_name / "heldout.json"

    @property
    def atlas_dir(self) -> Path:
        """Folder of the atlas's tables."""
        return self.folder / "atlas" / self.recipe.dictionary_name

    @property
    def report_path(self) -> Path:
        """The report's page."""
        return self.folder / "report" / f"{self.recipe.dictionary_name}.html"


def open_model(recipe: Recipe, device: str | None = None) -> LanguageModel:
    """The recipe's language model, or its two side by side, or its vectors of items; `device` None is the best there
    is."""
    if recipe.of_items:
        names = recipe.corpus
        return ItemModel.open(recipe.model.name, names.source, names.column, choose_device(device))
    model: Any = load_model(recipe.model.name, device=device, dtype=recipe.model.dtype)
    if recipe.other_model is None:
        return model
    other: Any = load_model(recipe.other_model, device=device, dtype=recipe.model.dtype)
    return ModelPair(model, other)
