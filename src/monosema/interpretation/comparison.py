"""The paper's figure: how well latents of several dictionaries can be explained, by method and site, with controls.

Every dictionary is described on the same stretch of text by an atlas of its own, its latents are explained by the same
explainers, and the explanations are scored on the same held-out text; so nothing but the dictionary differs. Baselines
are fitted on activations of the training text.

    neurons  the site's values and their negatives, rectified      ica  independent components
    pca      principal components                                  nmf  non-negative parts of rectified values

Of neurons and components nothing is thinned out: a latent is active where its code is above 0, as in arXiv 2309.08600.
Such latents are active nearly everywhere; where a scorer finds no inactive passage, the score is absent, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from monosema.core import Log, Site, digest, read_json, write_json
from monosema.dictionaries import Dictionary, Ica, Metadata, Neurons, Nmf, Pca
from monosema.interpretation.controls import InterpretSettings, interpret
from monosema.interpretation.scores import CONTROLS_RULE, table_rows
from monosema.models import LanguageModel

_FORMAT = 2
"""Raised when parts of a table from before can't stand beside new ones."""


@dataclass(frozen=True)
class Baseline:
    """A baseline: its title, and its fit on rows of activations, with a seed and a number of components."""

    title: str
    fit: Callable[[Float[Tensor, "rows d"], int, int, Metadata], Dictionary]


BASELINES: Mapping[str, Baseline] = {
    "neurons": Baseline("neurons", lambda rows, components, seed, about: Neurons(rows.shape[1], metadata=about)),
    "pca": Baseline("PCA", lambda rows, components, seed, about: Pca.fit([rows], rows.shape[1], about)),
    "ica": Baseline("ICA", lambda rows, components, seed, about: Ica.fit(rows, components, seed=seed, metadata=about)),
    "nmf": Baseline("NMF", lambda rows, components, seed, about: Nmf.fit(rows, components, seed=seed, metadata=about)),
}
"""Baselines that are fitted on rows of activations, by name."""


@dataclass(frozen=True)
class Contender:
    """A dictionary that is compared.

    Attributes:
        name: short name.
        title: name in tables and plots.
        site: site of the model that it reads.
        depends_on: plain values; a part of the table is made again when they change.
        make: returns the model and the dictionary.
        training: note on its training, for the log.
        discard: removes what is needed no more once it is compared.
    """

    name: str
    title: str
    site: Site
    depends_on: Sequence[Any]
    make: Callable[[], tuple[LanguageModel, Dictionary]]
    training: str = ""
    discard: Callable[[], None] = lambda: None


def compare_dictionaries(
    contenders: Sequence[Contender], home: Path, settings: InterpretSettings, tokens: int, most: int | None, log: Log
) -> dict[str, Any]:
    """Compare dictionaries; parts of the same comparison that were finished before are kept.

    Args:
        home: folder for parts and atlases.
        tokens: number of tokens that each dictionary's latents are described on.
        most: most latents of each that are explained and scored; None for all alive ones.

    Returns:
        The table as plain values.
    """
    parts = []
    for one in contenders:
        part = home / f"{digest([_FORMAT, list(one.depends_on), one.site.short, one.name])}.json"
        if part.exists():
            log(f"{one.name} at {one.site.short}: done before")
        else:
            log(f"{one.name} at {one.site.short}: {one.training}described on {tokens:,} tokens, explained and scored")
            write_json(part, _compared(one, home, settings, tokens, most))
            one.discard()
        parts.append(read_json(part))
    return {
        "rule": CONTROLS_RULE,
        "tokens": tokens,
        "heldout_tokens": settings.samples.tokens,
        "dictionaries": [{key: value for key, value in part.items() if key != "rows"} for part in parts],
        "rows": [row for part in parts for row in part["rows"]],
    }


def _compared(one: Contender, home: Path, settings: InterpretSettings, tokens: int, most: int | None) -> dict[str, Any]:
    """Return one dictionary's part of the table."""
    model, dictionary = one.make()
    found = interpret(model, dictionary, one.site, home / f"atlas-{one.site.short}-{one.name}", settings, tokens, most)
    about = {"site": one.site.short, "dictionary": one.title}
    rows = [
        {**about, **row} for method, tables in found.tables.items() for row in table_rows(method, tables, found.scored)
    ]
    return {**about, "latents": found.latents, "alive": found.alive, "scored": found.scored, "rows": rows}
