"""Subject of steering and splicing: a model, a dictionary of it and text for controls, from a run or a dictionary."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path

from monosema.core import ConfigError, InputError, RunError, Site
from monosema.data import TextConfig, open_corpus, token_batches
from monosema.data.batches import TokenBatches
from monosema.dictionaries import Dictionary
from monosema.evaluation import CONTROL_ROWS
from monosema.items import ItemBatches
from monosema.models import LanguageModel, load_model
from monosema.runs.context import RunContext, open_model
from monosema.runs.encode import open_dictionary
from monosema.runs.run import Run
from monosema.steering import Resolver


@dataclass(eq=False)
class Subject:
    """A model and, where one was named, a dictionary of it.

    Attributes:
        model: the model.
        place: a run folder, or a dictionary in any format; None for a model alone.
        device: where to compute; None for the best there is.
    """

    model: LanguageModel
    place: Path | None = None
    device: str | None = None

    @functools.cached_property
    def run(self) -> Run | None:
        """The run; None of a dictionary alone."""
        return None if self.place is None else _run_at(self.place)

    @functools.cached_property
    def dictionary(self) -> Dictionary:
        """The dictionary. Raises InputError where none was named, RunError where it isn't trained yet."""
        if self.place is None:
            raise InputError("There is no dictionary: name a run or a dictionary with --run.")
        return open_dictionary(self.place).to(self.model.device)

    @property
    def site(self) -> Site:
        """Site that the dictionary reads; of a crosscoder, the last. Raises ConfigError where it doesn't say it."""
        if self.run is not None:
            return self._context(self.run).site
        if self.dictionary.metadata.site is None:
            raise ConfigError("The dictionary does not say which site it reads, so nothing can be put there.")
        return self.dictionary.metadata.site

    @functools.cached_property
    def resolver(self) -> Resolver:
        """The finder of latents, their maxima and directions by name."""
        return Resolver() if self.place is None else Resolver.of(self.place, device=str(self.model.device))

    def text(self, tokens: int = CONTROL_ROWS) -> TokenBatches | ItemBatches:
        """Batches of training text: the run's, or the built-in one's."""
        if self.run is not None:
            return self._context(self.run).batches(self.run.recipe.text.replace(tokens=tokens))
        window = min(self.dictionary.metadata.context or 128, self.model.context)
        config = TextConfig(window=window, batch=8, tokens=tokens, split="train")
        return token_batches(open_corpus("builtin"), self.model.tokenizer, config)

    def _context(self, run: Run) -> RunContext:
        return RunContext(run.recipe, run.folder, self.device)


def open_subject(
    place: str | Path | None = None, model: str | None = None, *, device: str | None = None, default: str = "specimen"
) -> Subject:
    """Open the model of a run folder, or of a dictionary in any format.

    Args:
        place: a run folder or a dictionary; None for a model alone.
        model: in place of the one that is named there, such as a fine-tuned copy; None for that one.
        default: the model where neither is given.

    Raises:
        ConfigError: a dictionary that names no model, where none is given.
        InputError: a model in which the dictionary's site is not, or is of another width.
        FormatError, UnknownModelError: as `load_dictionary` and `load_model`.
    """
    if place is None:
        return Subject(load_model(model or default, device=device), device=device)
    run = _run_at(Path(place))
    if model is None and run is not None:
        return Subject(open_model(run.recipe, device), Path(place), device)
    named = model or open_dictionary(place).metadata.model
    if named is None:
        raise ConfigError(f"The dictionary {place} does not say which model it is of: give it with --model.")
    subject = Subject(load_model(named, device=device), Path(place), device)
    with contextlib.suppress(RunError):  # nothing is trained yet that could be of another model
        _require_fit(subject.model, subject.dictionary, subject.place)
    return subject


def _require_fit(model: LanguageModel, dictionary: Dictionary, place: Path | None) -> None:
    site, own = dictionary.metadata.site, dictionary.metadata.model
    if site is None or site.layer is None:
        return
    other_width = site.component.startswith("resid") and dictionary.d_in % model.d_model
    if site.layer >= model.n_layers or other_width:
        raise InputError(
            f"{place} is of the model {own}, at {site.short} with width {dictionary.d_in:,}, and not of {model.name}, "
            f"which has {model.n_layers} blocks of width {model.d_model:,}. Leave out --model, or name a copy of {own}."
        )


def _run_at(place: Path) -> Run | None:
    return Run.open(place) if (place / "recipe.toml").exists() else None
