"""Subject of steering and splicing: a model, a dictionary of it and text for controls, from a run or a dictionary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monosema.core import ConfigError, Site
from monosema.data import TextConfig, open_corpus, token_batches
from monosema.data.batches import TokenBatches
from monosema.dictionaries import Dictionary
from monosema.evaluation import CONTROL_ROWS
from monosema.items import ItemBatches
from monosema.models import LanguageModel, load_model
from monosema.runs.context import RunContext, open_model
from monosema.runs.encode import open_dictionary
from monosema.runs.run import Run


@dataclass(frozen=True)
class Subject:
    """A model and, where one was named, a dictionary of it.

    Attributes:
        model: the model.
        dictionary: None where there is none.
        run: the run that it is of; None of a dictionary alone.
        device: where to compute.
    """

    model: LanguageModel
    dictionary: Dictionary | None = None
    run: Run | None = None
    device: str | None = None

    @property
    def site(self) -> Site:
        """Site that the dictionary reads; of a crosscoder, the last.

        Raises:
            ConfigError: there is no dictionary, or it doesn't say its site.
        """
        if self.run is not None:
            return RunContext(self.run.recipe, self.run.folder, self.device).site
        if self.dictionary is None:
            raise ConfigError("There is no dictionary: name a run or a dictionary with --run.")
        if self.dictionary.metadata.site is None:
            raise ConfigError("The dictionary does not say which site it reads, so nothing can be put there.")
        return self.dictionary.metadata.site

    def text(self, tokens: int = CONTROL_ROWS) -> TokenBatches | ItemBatches:
        """Batches of training text: the run's, or the built-in one's."""
        if self.run is not None:
            context = RunContext(self.run.recipe, self.run.folder, self.device)
            return context.batches(self.run.recipe.text.replace(tokens=tokens))
        window = min((self.dictionary and self.dictionary.metadata.context) or 128, self.model.context)
        config = TextConfig(window=window, batch=8, tokens=tokens, split="train")
        return token_batches(open_corpus("builtin"), self.model.tokenizer, config)


def open_subject(
    place: str | Path | None = None, model: str | None = None, *, device: str | None = None, default: str = "specimen"
) -> Subject:
    """Open what a run folder, or a dictionary in any format, says that it is of.

    Args:
        place: a run folder or a dictionary; None for a model alone.
        model: in place of the one that is named there, such as a fine-tuned copy; None for that one.
        default: the model where neither is given.

    Raises:
        ConfigError: a dictionary that names no model, where none is given.
        RunError: a run that has not trained its dictionary yet.
        FormatError, UnknownModelError: as `load_dictionary` and `load_model`.
    """
    if place is None:
        return Subject(load_model(model or default, device=device), device=device)
    dictionary = open_dictionary(place)
    run = Run.open(place) if (Path(place) / "recipe.toml").exists() else None
    if model is None and run is not None:
        return Subject(open_model(run.recipe, device), dictionary, run, device)
    named = model or dictionary.metadata.model
    if named is None:
        raise ConfigError(f"The dictionary {place} does not say which model it is of: give it with --model.")
    return Subject(load_model(named, device=device), dictionary, run, device)
