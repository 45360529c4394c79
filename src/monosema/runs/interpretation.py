"""The stages explain and score of a run, and the objects of a run that interpretation works with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations import RowTaker
from monosema.atlas import open_atlas
from monosema.core import CorpusError, Site, digest, read_json
from monosema.data import TokenBatch
from monosema.dictionaries import Dictionary, Metadata, RandomDirections, load_dictionary
from monosema.interpretation import (
    Blocks,
    InterpretSettings,
    Subject,
    damage_of_explanations,
    damage_of_scores,
    explain_atlas,
    random_latents,
    rows_at,
    score_atlas,
)
from monosema.models import vector_width
from monosema.runs.context import RunContext

FITTED_ROWS = 16_384
"""Rows of activations that the mean and the gain of random directions are fitted on."""
ORIGIN = "origin.json"
"""File beside a dictionary that was given: where it comes from, and how many latents are active per row."""


def subject_of(ctx: RunContext) -> Subject:
    """Open the run's model, dictionary and atlas."""
    return Subject(ctx.model, opened_dictionary(ctx), open_atlas(ctx.atlas_dir), ctx.recipe.sites[-1])


def opened_dictionary(ctx: RunContext) -> Dictionary:
    """Load the run's dictionary to the device of its model."""
    return load_dictionary(ctx.dictionary_dir).to(ctx.model.device)


def text_of(ctx: RunContext, split: str, tokens: int) -> Iterable[TokenBatch]:
    """Return so many tokens of a split of the run's text, or so many items: of all, since they are few."""
    split = "all" if ctx.recipe.of_items else split
    return ctx.batches(ctx.recipe.text.replace(split=split, tokens=tokens))


def rows_of_text(
    ctx: RunContext, sites: Sequence[Site], wanted: int, split: str = "train"
) -> Float[Tensor, "rows width"]:
    """Run the model for at most so many rows of activations, of several sites side by side, as a capture takes them."""
    take = RowTaker(ctx.model, list(sites), ctx.recipe.capture.extreme_norm)
    rows, at = torch.empty(wanted, sum(vector_width(ctx.model, site) for site in sites)), 0
    for batch in text_of(ctx, split, wanted):
        taken = take(batch)
        part = torch.cat([taken.at(site) for site in sites], dim=1)[: wanted - at]
        rows[at : at + len(part)] = part
        at += len(part)
    if not at:
        raise CorpusError(f"The text has no {split} tokens to take activations of. Give a longer one: --corpus.")
    return rows[:at].to(ctx.model.device)


def heldout(ctx: RunContext) -> Iterable[TokenBatch]:
    """Return the held-out text that passages come from."""
    return text_of(ctx, "heldout", ctx.recipe.samples.tokens)


def home_of(ctx: RunContext) -> Path:
    """Return the folder of tables of scores."""
    return ctx.folder / "interpretation" / ctx.recipe.dictionary_name


def settings_of(ctx: RunContext) -> InterpretSettings:
    """Return the settings under which other dictionaries are interpreted like the run's own."""
    text: Callable[[str, int], Iterable[TokenBatch]] = functools.partial(text_of, ctx)
    recipe = ctx.recipe
    return InterpretSettings(text, recipe.atlas, recipe.samples, recipe.explain, recipe.score)


def _blocks(ctx: RunContext) -> Blocks:
    recipe = ctx.recipe
    return Blocks(subject_of(ctx), heldout(ctx), ctx.corpus.digest, home_of(ctx), recipe.samples, recipe.explain)


def explain(ctx: RunContext) -> Mapping[str, Any]:
    """Run the stage explain."""
    return explain_atlas(_blocks(ctx))


def score(ctx: RunContext) -> Mapping[str, Any]:
    """Run the stage score."""
    recipe, settings = ctx.recipe, settings_of(ctx)
    like = [ctx.site.short, recipe.dictionary.n_latents, active_per_row(ctx)]
    key = digest([ctx.model.digest, ctx.corpus.digest, like, recipe.text.to_dict(), *settings.to_list()])

    def make() -> Dictionary:
        text = text_of(ctx, "train", FITTED_ROWS)
        return random_directions(ctx, ctx.site, rows_at(ctx.model, text, ctx.site, FITTED_ROWS))

    random = random_latents(ctx.model, ctx.site, make, home_of(ctx), settings, key)
    return score_atlas(_blocks(ctx), recipe.score, random)


def damage_of_explain(ctx: RunContext) -> list[str]:
    """Say which explanations are lost."""
    return damage_of_explanations(open_atlas(ctx.atlas_dir), home_of(ctx))


def damage_of_score(ctx: RunContext) -> list[str]:
    """Say which scores are lost."""
    return damage_of_scores(open_atlas(ctx.atlas_dir), home_of(ctx))


def random_directions(ctx: RunContext, site: Site, rows: Float[Tensor, "rows d"]) -> RandomDirections:
    """Fit random directions at a site, as many and as sparse as the run's latents, on rows of activations there."""
    latents = ctx.recipe.dictionary.n_latents
    about = Metadata(model=ctx.recipe.model.name, site=site, dataset=ctx.corpus.name)
    return RandomDirections.fit(rows, latents, min(active_per_row(ctx), latents), ctx.recipe.samples.seed, about)


def active_per_row(ctx: RunContext) -> int:
    """Return the number of latents that are active per row: as many as the dictionary keeps, or as were measured at the
    end of training, or when a given one was opened."""
    k = ctx.recipe.dictionary.active_latents
    if k is not None:
        return k
    measured = read_json(ctx.dictionary_dir / (ORIGIN if ctx.recipe.given else "training.json")).get("l0")
    return max(1, round(float(measured or ctx.recipe.dictionary.expected_active)))
