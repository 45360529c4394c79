"""Training on any matrix of vectors, outside of a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from monosema.activations import Rows, RowSource, Store
from monosema.core import Config, ConfigError, InputError, Site, choose_device
from monosema.dictionaries import DictionaryChoice, Metadata, at_sites, dictionary_config
from monosema.runs.display import training_display
from monosema.runs.end_to_end import refuse_end_to_end
from monosema.runs.overrides import override, parse_keys
from monosema.runs.sites import OneSite, SiteList, sites_of
from monosema.training import TrainConfig, TrainingRows, TrainResult, train
from monosema.training.distribution import Mesh
from monosema.training.finished import refuse_untrained

VECTOR_KEYS = {"latents": "dictionary.n_latents"}
"""Short names of keys."""


class VectorRecipe(Config):
    """A dictionary of a matrix's rows."""

    site: SiteList | None = None
    """Site of a captured store; may be left out where there is one. Of a crosscoder several, with commas."""
    output_site: OneSite | None = None
    """Site that a transcoder writes."""
    dictionary: DictionaryChoice = dictionary_config("topk", n_latents=4096, k=32)
    """The dictionary, of the architecture that it names."""
    batch: int = Field(4096, gt=0)
    """Rows in a batch."""
    passes: int = Field(1, gt=0)
    """Times that every row is seen."""
    heldout: int | None = Field(None, ge=0)
    """Rows at the end that are never trained on; None is 20,480, and at most a tenth. So rows should not be sorted."""
    training: TrainConfig = TrainConfig()


def read_vector_recipe(words: Sequence[str], seed: int | None = None) -> VectorRecipe:
    """The recipe that words say. Raises InputError for plain words, unknown keys and values out of range."""
    plain, overrides = parse_keys(words)
    if plain:
        raise InputError(f"With --activations there is no recipe: {plain[0]!r} is not a key. Keys begin with --.")
    if seed is not None:
        overrides["training.seed"] = str(seed)
    return override(VectorRecipe(), overrides, VECTOR_KEYS)


def train_vectors(
    path: Rows,
    out: str | Path,
    recipe: VectorRecipe,
    device: str | None = None,
    latent_shards: int = 1,
    update: bool = False,
) -> TrainResult:
    """Train on rows in any form; `device` None is the best there is.

    Started by torchrun, its processes share the work: `latent_shards` parts of the latents, and the batch. `update` has
    the dictionary replace another one that `out` holds.

    Raises:
        RunError: `out` holds another dictionary, and `update` is False.
        VectorError: rows that can't be trained on, or too few of them; the message says how many there are.
        ConfigError: a number out of range, or a store of several sites and none chosen.
    """
    refuse_end_to_end(recipe.training, "Training with --activations")
    mesh = Mesh.join(latent_shards)
    rows = TrainingRows.open(path, recipe.batch, recipe.heldout)
    sites = sites_there(rows, recipe)
    seed = recipe.training.seed
    stream = rows.stream(sites, batch=recipe.batch, seed=seed, passes=recipe.passes)
    about = at_sites(metadata_of(rows.source), sites, recipe.output_site is not None)
    widths = [rows.source.width(site) for site in sites]
    dictionary = recipe.dictionary.make(widths, about, seed).to(choose_device(device))
    held, total = rows.held_out(sites) if mesh.first else None, stream.batches * stream.batch
    if not update:
        mesh.by_first(lambda: refuse_untrained(Path(out)))
    with training_display(total, "rows", stream.batch, mesh.first) as display:
        result = train(
            dictionary,
            stream,
            recipe.training,
            Path(out),
            heldout=held,
            progress=display,
            trackers=[display],
            mesh=mesh,
            update=update,
        )
    mesh.leave()
    return result


def metadata_of(source: RowSource) -> Metadata:
    """Make the metadata of a dictionary that learns from these rows: what a store says of its model and text, or the
    name of the vectors."""
    if not isinstance(source, Store):
        return Metadata(dataset=Path(source.name).name)
    recipe, about = source.manifest.recipe, source.manifest.about
    return Metadata(
        model=about.get("model", recipe["model"]),
        context=(recipe["text"] or {}).get("window"),
        prepend_bos=about.get("prepend_bos", True),
        dataset=about.get("dataset"),
        extra={"other_model": about["other_model"]} if "other_model" in about else {},
    )


def sites_there(rows: TrainingRows, recipe: VectorRecipe) -> tuple[Site, ...]:
    """The sites that are meant.

    Raises:
        ConfigError: the rows have several and none is named, or not that one, or they are not as many as the
            architecture takes.
    """
    there: Mapping[str, Site] = {site.short: site for site in rows.source.sites}
    if recipe.site is None and len(there) == 1:
        return sites_of(rows.source.sites, recipe.output_site, recipe.dictionary)
    if recipe.site is None:
        raise ConfigError(f"{rows.source.name} has the sites {', '.join(there)}: say which. Give --site.")
    sites = sites_of(recipe.site, recipe.output_site, recipe.dictionary)
    missing = [site.short for site in sites if site.short not in there]
    if missing:
        raise ConfigError(
            f"{rows.source.name} has the sites {', '.join(there)}: {', '.join(missing)} is not among them. Give --site."
        )
    return sites
