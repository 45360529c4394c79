"""The paper's figure: how well latents can be explained, by method and site, each with its controls.

Every dictionary, the run's own included, is described on the same stretch of text by an atlas of its own, its latents
are explained by the same programs, and the explanations are scored on the same held-out text; so nothing but the
dictionary differs. Baselines are fitted on activations of the training text.

    neurons  the site's values and their negatives, rectified      ica  independent components
    random   random directions, as sparse as the trained ones      nmf  non-negative parts of rectified values
    pca      principal components
    randomised-model   the recipe's dictionary, trained on the same model with weights drawn anew (see `randomised`)

Of neurons and components nothing is thinned out: a latent is active where its code is above 0, as in arXiv 2309.08600.
Such latents are active nearly everywhere; where a scorer finds no inactive passage, the score is absent, and counted.

The run has a dictionary at its own site only. Where several sites are compared, or the randomised model, the recipe's
dictionary is trained at every site once more, on the same smaller number of tokens everywhere and over as many passes
as give about the run's number of steps: along the layers, and between the two models, budgets are equal. It stands
beside the run's own, which has seen more text. Such dictionaries are trained by the run's own stages, so a kill loses
no more of them than of a run.
"""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor

from monosema.core import Config, ConfigError, Log, Site, digest, nearest, read_json, write_json
from monosema.dictionaries import Dictionary, Ica, Metadata, Neurons, Nmf, Pca, load_dictionary
from monosema.interpretation.scoring import CHANCE, CONTROLS_RULE, table_row
from monosema.models import LanguageModel
from monosema.models.randomised import randomised
from monosema.pages import charts
from monosema.pages.svg import write_svg
from monosema.runs.context import RunContext
from monosema.runs.controls import interpret, random_directions, rows_at
from monosema.runs.facts import comparison_path
from monosema.runs.ledger import Ledger
from monosema.runs.pipeline import advance

__all__ = ["BASELINES", "CompareConfig", "compare", "comparison_path", "read_baselines"]

Baseline = Literal["neurons", "random", "pca", "ica", "nmf", "randomised-model"]
BASELINES: tuple[str, ...] = get_args(Baseline)
TRAINED, RETRAINED, RANDOMISED = "trained", "retrained", "randomised-model"
_NAMES = {"neurons": "neurons", "random": "random directions", "pca": "PCA", "ica": "ICA", "nmf": "NMF"}
_UNITS = {0.0: "Pearson's ρ", 0.5: "balanced accuracy"}


class CompareConfig(Config):
    """What is compared, and on how much."""

    baselines: tuple[Baseline, ...] = ("neurons", "random", "pca", "ica", "nmf")
    """Which baselines stand beside the run's dictionary."""
    sites: tuple[str, ...] = ()
    """Sites that are compared; none means the dictionary's own. The run's own dictionary is compared at its own."""
    tokens: int = Field(100_000, ge=1)
    """Tokens that each dictionary's latents are described on."""
    most: int | None = Field(100, ge=2)
    """Latents of each dictionary that are explained and scored, at most, drawn by a hash; None for all alive ones."""
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
    """Baselines named with commas between. Raises ConfigError for one that there is not."""
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
    parts = []
    for site, name in work.wanted:
        part = work.home / f"{digest([work.settings(name), site.short, name])}.json"
        if part.exists():
            log(f"{name} at {site.short}: done before")
        else:
            trained = f"trained on {work.budget:,} tokens, " if name in (RETRAINED, RANDOMISED) else ""
            log(f"{name} at {site.short}: {trained}described on {config.tokens:,} tokens, explained and scored")
            write_json(part, work.compared(site, name))
            shutil.rmtree(work.activations(site, name), ignore_errors=True)
        parts.append(read_json(part))
    result = {
        "rule": CONTROLS_RULE,
        "tokens": config.tokens,
        "heldout_tokens": ctx.recipe.samples.tokens,
        "sites": [site.short for site in work.sites],
        "dictionaries": [{key: value for key, value in part.items() if key != "rows"} for part in parts],
        "rows": [row for part in parts for row in part["rows"]],
    }
    path = comparison_path(ctx)
    write_json(path, result)
    scorers = {scorer: (chance, _UNITS[chance]) for scorer, chance in CHANCE.items()}
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
        return self.ctx.recipe.text.tokens or int(Ledger(self.ctx.folder).records()["capture"].counts["rows"])

    @property
    def budget(self) -> int:
        """Tokens that dictionaries are trained on for the comparison."""
        return min(self.config.training_tokens, self.run_tokens)

    @functools.cached_property
    def sites(self) -> list[Site]:
        """In the order in which the model comes to them."""
        order = [site.short for site in self.ctx.model.sites()]
        wanted = [Site.parse(site) for site in self.config.sites] or [self.ctx.site]
        return sorted(wanted, key=lambda site: order.index(site.short) if site.short in order else len(order))

    @functools.cached_property
    def wanted(self) -> list[tuple[Site, str]]:
        """Sites and names of all that is compared: the run's dictionary, then those made for the comparison."""
        names, several = self.config.baselines, len(self.sites) > 1
        if RANDOMISED in names and not self.budget:
            raise ConfigError("The randomised model's dictionary has to be trained: give --training-tokens above 0.")
        found = [(self.ctx.site, TRAINED)]
        if self.budget and (several or RANDOMISED in names):
            found += [(site, RETRAINED) for site in self.sites if self._trains_at(site) and not self._is_own(site)]
        for name in names:
            found += [(site, name) for site in self.sites if name != RANDOMISED or self._trains_at(site)]
        return found

    def _trains_at(self, site: Site) -> bool:
        """Whether the recipe's dictionary can be made there; one over several sites belongs to these alone."""
        return len(self.ctx.recipe.sites) == 1 or site == self.ctx.site

    def _is_own(self, site: Site) -> bool:
        """Whether the run's own dictionary is what would be trained there again."""
        return site == self.ctx.site and self.budget == self.run_tokens

    @functools.cached_property
    def randomised(self) -> LanguageModel:
        return randomised(self.ctx.model, self.ctx.recipe.samples.seed)

    def settings(self, name: str) -> list[Any]:
        """All that a part depends on beside site and dictionary."""
        recipe = self.ctx.recipe
        budget = self.config.training_tokens if name in (RETRAINED, RANDOMISED) else 0
        own = self.config.replace(baselines=("random",), sites=(), training_tokens=budget).to_dict()
        trained = self.ctx.dictionary_dir / "training.json"
        facts = [own, self.ctx.model.digest, self.ctx.corpus.digest, read_json(trained) if trained.exists() else {}]
        parts = (recipe.text, recipe.atlas, recipe.samples, recipe.explain, recipe.score)
        return [*facts, *(part.to_dict() for part in parts)]

    def compared(self, site: Site, name: str) -> dict[str, Any]:
        """One dictionary's part of the table."""
        ctx, config = self.ctx, self.config
        model = self.randomised if name == RANDOMISED else ctx.model
        dictionary = self._dictionary(site, name)
        folder = self.home / f"atlas-{site.short}-{name}"
        found = interpret(ctx, model, dictionary, site, folder, config.tokens, config.most)
        about = {"site": site.short, "dictionary": self._title(site, name)}
        rows = [
            {**about, **table_row(method, one, scores.details, found.scored).to_dict()}
            for method, scores in found.scores.items()
            for one in scores.figures
        ]
        counts = {"latents": found.latents, "alive": found.alive, "scored": found.scored}
        return {**about, **counts, "rows": rows}

    def _title(self, site: Site, name: str) -> str:
        """What the dictionary is called; the run's own has its name to itself only where it is not like the others."""
        title = self.ctx.recipe.row_names["dictionary"]
        names = {
            TRAINED: title,
            RETRAINED: f"{title}, {self.budget:,} tokens",
            RANDOMISED: f"{title}, randomised model",
        }
        if name == TRAINED and self._is_own(site) and len(self.sites) > 1:
            return names[RETRAINED]
        return {**names, **_NAMES}[name]

    def _dictionary(self, site: Site, name: str) -> Dictionary:
        """The run's dictionary, one that is trained for the comparison, or a baseline fitted on training text."""
        ctx = self.ctx
        if name == TRAINED:
            return _opened(ctx)
        if name in (RETRAINED, RANDOMISED):
            return self._trained(site, name)
        if site.short not in self.rows:
            self.rows[site.short] = rows_at(ctx, ctx.model, site, self.config.rows)
        rows, seed = self.rows[site.short], ctx.recipe.samples.seed
        about = Metadata(model=ctx.recipe.model.name, site=site, dataset=ctx.corpus.name)
        width = rows.shape[1]
        components = min(self.config.components, width, len(rows))
        if name == "neurons":
            return Neurons(width, metadata=about)
        if name == "random":
            return random_directions(ctx, site, rows)
        if name == "pca":
            return Pca.fit([rows], width, about)
        return (Ica if name == "ica" else Nmf).fit(rows, components, seed=seed, metadata=about)

    def _folder(self, site: Site, name: str) -> Path:
        return self.home / f"{name}-{site.short}"

    def activations(self, site: Site, name: str) -> Path:
        """What was captured to train on; needed no more when the dictionary is compared."""
        return self._folder(site, name) / "activations"

    def _trained(self, site: Site, name: str) -> Dictionary:
        """The recipe's dictionary at another site, or of the randomised model, by the stages capture and train."""
        recipe = self.ctx.recipe
        passes = max(1, round(recipe.stream.passes * self.run_tokens / self.budget))
        own = recipe.replace(
            site=recipe.site if site == self.ctx.site else site.short,
            text=recipe.text.replace(tokens=self.budget),
            stream=recipe.stream.replace(passes=passes),
        )
        inner = RunContext(own, self._folder(site, name), self.ctx.device)
        inner.model = self.randomised if name == RANDOMISED else self.ctx.model
        inner.corpus = self.ctx.corpus
        inner.folder.mkdir(parents=True, exist_ok=True)
        advance(inner, "train")
        return _opened(inner)


def _opened(ctx: RunContext) -> Dictionary:
    dictionary = load_dictionary(ctx.dictionary_dir)
    return dictionary.to(ctx.model.device)
