"""The paper's figure: how well latents can be explained, by method and site, each with its controls.

Every dictionary, the trained one included, is described on the same stretch of text by an atlas of its own, its latents
are explained by the same programs, and the explanations are scored on the same held-out text; so nothing but the
dictionary differs. Baselines are fitted on activations of the training text.

    neurons  the site's values and their negatives, rectified      ica  independent components
    random   random directions, as sparse as the trained ones      nmf  non-negative parts of rectified values
    pca      principal components

Of neurons and components nothing is thinned out: a latent is active where its code is above 0, as in arXiv 2309.08600.
Such latents are active nearly everywhere; where a scorer finds no inactive passage, the score is absent, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor

from monosema.atlas import build_atlas
from monosema.core import Config, ConfigError, Estimate, Site, atomic_path, digest, nearest, read_json, write_json
from monosema.dictionaries import Dictionary, Ica, Metadata, Neurons, Nmf, Pca, RandomDirections, load_dictionary
from monosema.interpretation.explaining import explain_by_programs
from monosema.interpretation.readers.programs import ProgramReader
from monosema.interpretation.sampling import draw_samples, latents_of, pool_of
from monosema.interpretation.scoring import CHANCE, score, table_row
from monosema.pages.intervals import Line, Panel, interval_chart
from monosema.runs.facts import comparison_path
from monosema.runs.meaning import RULE
from monosema.runs.workbench import Workbench

__all__ = ["BASELINES", "CompareConfig", "compare", "comparison_path", "draw_comparison", "read_baselines"]

Baseline = Literal["neurons", "random", "pca", "ica", "nmf"]
BASELINES: tuple[str, ...] = get_args(Baseline)
TRAINED = "trained"
_NAMES = {"neurons": "neurons", "random": "random directions", "pca": "PCA", "ica": "ICA", "nmf": "NMF"}
Tell = Callable[[str], None]


class CompareConfig(Config):
    """What is compared, and on how much."""

    baselines: tuple[Baseline, ...] = ("neurons", "random", "pca", "ica", "nmf")
    """Which baselines stand beside the trained dictionary."""
    sites: tuple[str, ...] = ()
    """Sites of the baselines; none means the dictionary's own. The trained dictionary is compared at its own."""
    tokens: int = Field(100_000, ge=1)
    """Tokens that each dictionary's latents are described on."""
    most: int | None = Field(100, ge=2)
    """Latents of each dictionary that are explained and scored, at most, drawn by a hash; None for all alive ones."""
    rows: int = Field(16_384, ge=2)
    """Rows of activations that baselines are fitted on."""
    components: int = Field(64, ge=1)
    """Components of ICA and NMF; of PCA there are as many as a row has values."""

    @field_validator("sites")
    @classmethod
    def _short(cls, sites: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(Site.parse(site).short for site in sites)


def read_baselines(words: str) -> tuple[str, ...]:
    """Baselines named with commas between. Raises ConfigError for one that there is not."""
    names = tuple(word.strip() for word in words.split(",") if word.strip())
    for name in names:
        if name not in BASELINES:
            raise ConfigError(
                f"There is no baseline {name!r}.{nearest(name, BASELINES)} The baselines are: {', '.join(BASELINES)}."
            )
    return tuple(dict.fromkeys(names))


def compare(bench: Workbench, config: CompareConfig | None = None, tell: Tell = lambda line: None) -> dict[str, Any]:
    """Compare a run's dictionary with baselines; what was finished of the same comparison before is kept.

    Returns:
        The table as plain values, as it is written to interpretation/NAME/comparison.json.

    Raises:
        SiteError: the model has no such site.
    """
    config = config or CompareConfig()
    path = comparison_path(bench)
    sites = config.sites or (bench.site.short,)
    wanted = [(bench.site.short, TRAINED), *((site, name) for site in sites for name in config.baselines)]
    samples: dict[str, Float[Tensor, "rows d"]] = {}
    parts = []
    for site, name in wanted:
        key = digest([_settings(bench, config), site, name])
        part = path.parent / "comparison" / f"{key}.json"
        if part.exists():
            tell(f"{name} at {site}: done before")
        else:
            tell(f"{name} at {site}: described on {config.tokens:,} tokens, explained and scored")
            write_json(part, _compared(bench, config, Site.parse(site), name, samples))
        parts.append(read_json(part))
    result = {
        "rule": RULE,
        "tokens": config.tokens,
        "heldout_tokens": bench.recipe.samples.tokens,
        "dictionaries": [{key: value for key, value in part.items() if key != "rows"} for part in parts],
        "rows": [row for part in parts for row in part["rows"]],
    }
    write_json(path, result)
    with atomic_path(path.with_suffix(".svg")) as temporary:
        temporary.write_text(draw_comparison(result), encoding="utf-8")
    return result


def _settings(bench: Workbench, config: CompareConfig) -> list[Any]:
    """All that a part depends on beside site and dictionary."""
    recipe = bench.recipe
    own = config.replace(baselines=("random",), sites=()).to_dict()
    trained = read_json(bench.dictionary / "training.json") if (bench.dictionary / "training.json").exists() else {}
    parts = [part.to_dict() for part in (recipe.text, recipe.atlas, recipe.samples, recipe.explain, recipe.score)]
    return [own, bench.model.digest, bench.corpus.digest, trained, *parts]


def _compared(
    bench: Workbench, config: CompareConfig, site: Site, name: str, samples: dict[str, Float[Tensor, "rows d"]]
) -> dict[str, Any]:
    """One dictionary's part of the table."""
    recipe = bench.recipe
    dictionary = _dictionary(bench, config, site, name, samples)
    folder = comparison_path(bench).parent / "comparison" / f"atlas-{site.short}-{name}"
    text = bench.batches(recipe.text.replace(tokens=config.tokens))
    atlas = build_atlas(bench.model, dictionary, site, text, folder, recipe.atlas)
    latents = latents_of(atlas, config.most, recipe.samples.seed)
    unseen = bench.batches(recipe.text.replace(split="heldout", tokens=recipe.samples.tokens))
    pool = pool_of(atlas, bench.model, dictionary, unseen, recipe.samples)
    drawn = draw_samples(atlas, bench.model, dictionary, pool, recipe.samples, latents)
    found = explain_by_programs(atlas, bench.model, dictionary, drawn, recipe.explain)
    title = recipe.row_names["dictionary"] if name == TRAINED else _NAMES[name]
    rows = []
    for method, explained in found.explained.items():
        scores = score(ProgramReader(), explained, drawn, recipe.score)
        rows += [table_row(method, one, scores.details, len(latents)).to_dict() for one in scores.figures]
    about = {"site": site.short, "dictionary": title}
    counts = {"latents": dictionary.n_latents, "alive": len(latents_of(atlas)), "scored": len(latents)}
    return {**about, **counts, "rows": [{**about, **row} for row in rows]}


def _dictionary(
    bench: Workbench, config: CompareConfig, site: Site, name: str, samples: dict[str, Float[Tensor, "rows d"]]
) -> Dictionary:
    """The trained dictionary, or a baseline fitted on rows of the training text."""
    trained: Any = load_dictionary(bench.dictionary)
    if name == TRAINED:
        return trained.to(bench.model.device) if hasattr(trained, "to") else trained
    if site.short not in samples:
        samples[site.short] = _rows(bench, site, config.rows)
    rows, seed = samples[site.short], bench.recipe.samples.seed
    about = Metadata(model=bench.recipe.model.name, site=site, dataset=bench.corpus.name)
    width = rows.shape[1]
    components = min(config.components, width, len(rows))
    if name == "neurons":
        return Neurons(width, metadata=about)
    if name == "random":
        active = max(1, round(float(trained.encode(rows[:2048]).l0.mean()))) if trained.d_in == width else 32
        return RandomDirections.fit(rows, trained.n_latents, min(active, trained.n_latents), seed, about)
    if name == "pca":
        return Pca.fit([rows], width, about)
    return (Ica if name == "ica" else Nmf).fit(rows, components, seed=seed, metadata=about)


@torch.inference_mode()
def _rows(bench: Workbench, site: Site, wanted: int) -> Float[Tensor, "rows d"]:
    """Activations of kept tokens of the training text."""
    parts: list[Tensor] = []
    for batch in bench.batches(bench.recipe.text.replace(tokens=wanted)):
        got = bench.model.activations(batch.tokens.to(bench.model.device), [site])[site].flatten(2).float()
        parts.append(got[batch.keep.to(got.device)])
    return torch.cat(parts)[:wanted].clone()


def draw_comparison(result: Mapping[str, Any]) -> str:
    """The table as a plot: a panel for each scorer, a line for each dictionary and way of explaining."""
    rows: Sequence[Mapping[str, Any]] = result["rows"]
    several = len({row["site"] for row in rows}) > 1

    def line(row: Mapping[str, Any]) -> Line:
        at = f" at {row['site']}" if several else ""
        control = row["control"]["value"] if "control" in row else None
        name = f"{row['dictionary']}{at}, {row['method']}"
        return Line(name, row["dictionary"], Estimate(**row["mean"]) if "mean" in row else None, control)

    scorers = list(dict.fromkeys(row["scorer"] for row in rows))
    panels = [Panel(name, CHANCE[name], [line(row) for row in rows if row["scorer"] == name]) for name in scorers]
    return interval_chart("How well latents are explained, on passages not seen before", panels)
