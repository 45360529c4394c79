"""The comparison of a run's dictionary with baselines and with dictionaries that are trained for it.

    neurons, pca, ica, nmf   see `monosema.interpretation.comparison`
    random                   random directions, as sparse as the trained ones
    randomised-model         the recipe's dictionary, trained on the same model with weights drawn anew

The run has a dictionary at its own site only. Where several sites are compared, or the randomised model, the recipe's
dictionary is trained at every site once more, on the same smaller number of tokens everywhere and over as many passes
as give about the run's number of steps: along the layers, and between the two models, budgets are equal. It stands
beside the run's own, which has seen more text. Such dictionaries are trained by the run's own stages, so a kill loses
no more of them than of a run.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor

from monosema.core import Config, ConfigError, Log, Site, nearest, read_json, write_json
from monosema.dictionaries import Dictionary, Metadata
from monosema.interpretation import Contender, compare_dictionaries, rows_at
from monosema.interpretation.comparison import BASELINES as FITTED
from monosema.models import LanguageModel
from monosema.models.randomised import randomised
from monosema.pages import charts
from monosema.pages.svg import write_svg
from monosema.runs.budget import MOST
from monosema.runs.context import RunContext
from monosema.runs.interpretation import opened_dictionary, random_directions, settings_of, text_of
from monosema.runs.ledger import Ledger
from monosema.runs.pipeline import advance
from monosema.runs.report_data import comparison_path

TRAINED, RETRAINED, RANDOM, RANDOMISED = "trained", "retrained", "random", "randomised-model"
BASELINES = ("neurons", RANDOM, *(name for name in FITTED if name != "neurons"), RANDOMISED)


class CompareConfig(Config):
    """Dictionaries that are compared, and tokens that they are compared on."""

    baselines: tuple[str, ...] = BASELINES[:-1]
    """Baselines beside the run's dictionary."""
    sites: tuple[str, ...] = ()
    """Sites that are compared; none means the dictionary's own. The run's own dictionary is compared at its own."""
    tokens: int = Field(100_000, ge=1)
    """Tokens that each dictionary's latents are described on."""
    most: int | None = Field(100, ge=2)
    """Most latents of each dictionary that are explained and scored, drawn by a hash; None for all alive ones."""
    rows: int = Field(16_384, ge=2)
    """Rows of activations that baselines are fitted on."""
    components: int = Field(64, ge=1)
    """Components of ICA and NMF; of PCA there are as many as a row has values."""
    training_tokens: int = Field(200_000, ge=0)
    """Tokens that the recipe's dictionary is trained on at each site where several are compared, and on the randomised
    model; at most the run's. 0 leaves such dictionaries out."""

    @field_validator("sites")
    @classmethod
    def _short(cls, sites: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(Site.parse(site).short for site in sites))


def read_baselines(words: str) -> tuple[str, ...]:
    """Read names of baselines with commas between. Raises ConfigError for an unknown one."""
    names = tuple(word.strip() for word in words.split(",") if word.strip())
    for name in names:
        if name not in BASELINES:
            raise ConfigError(
                f"There is no baseline {name!r}.{nearest(name, BASELINES)} The baselines are: {', '.join(BASELINES)}."
            )
    return tuple(dict.fromkeys(names))


def compare(ctx: RunContext, config: CompareConfig | None = None, log: Log = lambda line: None) -> dict[str, Any]:
    """Compare a run's dictionary with baselines; what was finished of the same comparison before is kept.

    Returns:
        The table as plain values, as it is written to interpretation/NAME/comparison.json.

    Raises:
        SiteError: the model has no such site.
        ConfigError: the randomised model was asked for without tokens to train on.
        InputError: the model has no weights that can be drawn anew.
    """
    config = config or CompareConfig()
    work = _Comparison(ctx, config)
    path = comparison_path(ctx)
    result = {
        "sites": [site.short for site in work.sites],
        **compare_dictionaries(work.contenders(), work.home, settings_of(ctx), config.tokens, config.most, log),
    }
    write_json(path, result)
    scorers = {row["scorer"]: (row["chance"], row["unit"]) for row in result["rows"]}
    write_svg(charts.comparison(result, scorers), path.with_suffix(".svg"))
    return result


@dataclass
class _Comparison:
    """The dictionaries of a comparison, each made when it is first needed."""

    ctx: RunContext
    config: CompareConfig
    rows: dict[str, Float[Tensor, "rows d"]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return comparison_path(self.ctx).parent / "comparison"

    @functools.cached_property
    def run_tokens(self) -> int:
        """Tokens that the run's dictionary was trained on."""
        captured = Ledger(self.ctx.folder).records().get("capture")
        return self.ctx.recipe.text.tokens or (int(captured.counts["rows"]) if captured else MOST)

    @property
    def budget(self) -> int:
        """Tokens that dictionaries are trained on for the comparison."""
        return min(self.config.training_tokens, self.run_tokens)

    @functools.cached_property
    def sites(self) -> list[Site]:
        """The compared sites, in the order of the model's forward pass."""
        order = [site.short for site in self.ctx.model.sites()]
        sites = [Site.parse(site) for site in self.config.sites] or [self.ctx.site]
        return sorted(sites, key=lambda site: order.index(site.short) if site.short in order else len(order))

    def contenders(self) -> list[Contender]:
        """Return all that is compared: the run's dictionary, then those made for the comparison."""
        ctx, names, several = self.ctx, self.config.baselines, len(self.sites) > 1
        if RANDOMISED in names and not self.budget:
            raise ConfigError("The randomised model's dictionary has to be trained: give --training-tokens above 0.")
        # The recipe's dictionary over several sites belongs to these alone.
        trainable = [site for site in self.sites if len(ctx.recipe.sites) == 1 or site == ctx.site]
        title = ctx.recipe.row_names["dictionary"]
        budgeted = f"{title}, {self.budget:,} tokens"
        # The run's own has its name to itself only where it is not like the others.
        own = budgeted if self._is_own(ctx.site) and several else title
        found = [self._contender(TRAINED, own, ctx.site, lambda: (ctx.model, opened_dictionary(ctx)))]
        if self.budget and (several or RANDOMISED in names):
            found += [self._retrained(RETRAINED, budgeted, site) for site in trainable if not self._is_own(site)]
        for name in names:
            if name == RANDOMISED:
                found += [self._retrained(RANDOMISED, f"{title}, randomised model", site) for site in trainable]
            else:
                found += [self._fitted(name, site) for site in self.sites]
        return found

    def _is_own(self, site: Site) -> bool:
        """Return True where retraining would give the run's own dictionary again."""
        return self.ctx.recipe.given is None and site == self.ctx.site and self.budget == self.run_tokens

    def _contender(
        self, name: str, title: str, site: Site, make: Callable[[], tuple[LanguageModel, Dictionary]], **more: Any
    ) -> Contender:
        recipe = self.ctx.recipe
        budget = self.config.training_tokens if name in (RETRAINED, RANDOMISED) else 0
        own = self.config.replace(baselines=(RANDOM,), sites=(), training_tokens=budget).to_dict()
        trained = self.ctx.dictionary_dir / "training.json"
        facts = [own, *self.ctx.sources.values(), read_json(trained) if trained.exists() else {}]
        depends_on = [*facts, recipe.text.to_dict(), *settings_of(self.ctx).to_list()]
        return Contender(name, title, site, depends_on, make, **more)

    def _fitted(self, name: str, site: Site) -> Contender:
        """Return a baseline that is fitted on training text."""
        ctx = self.ctx

        def make() -> tuple[LanguageModel, Dictionary]:
            if site.short not in self.rows:
                text = text_of(ctx, "train", self.config.rows)
                self.rows[site.short] = rows_at(ctx.model, text, site, self.config.rows)
            rows = self.rows[site.short]
            if name == RANDOM:
                return ctx.model, random_directions(ctx, site, rows)
            about = Metadata(model=ctx.recipe.model.name, site=site, dataset=ctx.corpus.name)
            components = min(self.config.components, rows.shape[1], len(rows))
            return ctx.model, FITTED[name].fit(rows, components, ctx.recipe.samples.seed, about)

        title = "random directions" if name == RANDOM else FITTED[name].title
        return self._contender(name, title, site, make)

    def _retrained(self, name: str, title: str, site: Site) -> Contender:
        """Return the recipe's dictionary at a site, trained by the stages capture and train."""
        folder = self.home / f"{name}-{site.short}"

        def make() -> tuple[LanguageModel, Dictionary]:
            recipe = self.ctx.recipe
            passes = max(1, round(recipe.stream.passes * self.run_tokens / self.budget))
            own = recipe.replace(
                given=None,
                site=recipe.site if site == self.ctx.site else site.short,
                text=recipe.text.replace(tokens=self.budget),
                stream=recipe.stream.replace(passes=passes),
            )
            inner = RunContext(own, folder, self.ctx.device)
            inner.model = self.randomised if name == RANDOMISED else self.ctx.model
            inner.corpus = self.ctx.corpus
            inner.folder.mkdir(parents=True, exist_ok=True)
            advance(inner, "train")
            return inner.model, opened_dictionary(inner)

        return self._contender(
            name,
            title,
            site,
            make,
            training=f"trained on {self.budget:,} tokens, ",
            discard=lambda: shutil.rmtree(folder / "activations", ignore_errors=True),
        )

    @functools.cached_property
    def randomised(self) -> LanguageModel:
        return randomised(self.ctx.model, self.ctx.recipe.samples.seed)
