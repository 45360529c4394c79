"""Other dictionaries, interpreted exactly as a run's own: what its scores are held against.

Each is described on a stretch of the training text by an atlas of its own, some of its latents are explained by the
same programs, and the explanations are scored on the same held-out text by the same scorers; so nothing but the
dictionary, or the model, differs.

Every run has one such control, *random latents*: random unit directions at the run's site, as many as the dictionary
has latents and as many of them active on a row. Their mean scores stand beside those of the run's features. They log
how much of a score is owed to the text and the scorer alone: tokens that look alike to the model excite a random
direction alike. They are described on fewer tokens than the run's features (`score.random_tokens`), so their strongest
passages are less strong; the comparison (`monosema score RUN --compare …`) describes all on the same tokens.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.atlas import build_atlas
from monosema.core import Estimate, Site, bootstrap_mean, digest, read_json, write_json
from monosema.dictionaries import Dictionary, Metadata, RandomDirections
from monosema.interpretation.explaining import explain_by_programs
from monosema.interpretation.readers.programs import ProgramReader
from monosema.interpretation.sampling import draw_samples, latents_of, pool_of
from monosema.interpretation.scoring import Scores, score
from monosema.models import LanguageModel
from monosema.runs.context import RunContext

FITTED_ROWS = 16_384
"""Rows that the mean and the gain of random directions are fitted on."""


@dataclass(frozen=True)
class Interpreted:
    """What programs make of a dictionary's latents.

    Attributes:
        scores: by how explanations were found.
        latents: latents of the dictionary.
        alive: of them, those that were ever active.
        scored: of these, those that were to be explained and scored.
    """

    scores: Mapping[str, Scores]
    latents: int
    alive: int
    scored: int


def interpret(
    ctx: RunContext,
    model: LanguageModel,
    dictionary: Dictionary,
    site: Site,
    folder: Path,
    tokens: int,
    most: int | None,
    heldout: int | None = None,
) -> Interpreted:
    """Describe, explain and score latents of a dictionary by a run's settings.

    Args:
        model: whose activations the dictionary reads.
        site: where.
        folder: of the atlas.
        tokens: that latents are described on.
        most: latents that are explained and scored, at most, drawn by a hash; None for all alive ones.
        heldout: tokens of held-out text that random and inactive passages come from; None for the run's.
    """
    recipe = ctx.recipe
    text = ctx.batches(recipe.text.replace(tokens=tokens))
    atlas = build_atlas(model, dictionary, site, text, folder, recipe.atlas)
    latents = latents_of(atlas, most, recipe.samples.seed)
    unseen = ctx.batches(recipe.text.replace(split="heldout", tokens=heldout or recipe.samples.tokens))
    pool = pool_of(atlas, model, dictionary, unseen, recipe.samples)
    drawn = draw_samples(atlas, model, dictionary, pool, recipe.samples, latents)
    found = explain_by_programs(atlas, model, dictionary, drawn, recipe.explain)
    scores = {
        method: score(ProgramReader(), explained, drawn, recipe.score) for method, explained in found.explained.items()
    }
    return Interpreted(scores, dictionary.n_latents, len(latents_of(atlas)), len(latents))


def random_latents(ctx: RunContext, home: Path) -> dict[str, dict[str, Estimate]]:
    """What explanations of random latents score on the mean, by method and scorer; empty where none are asked for.

    Args:
        home: folder for what is found, which is read again as long as nothing that it depends on has changed.
    """
    recipe, config = ctx.recipe, ctx.recipe.score
    if not config.random_latents:
        return {}
    parts = [part.to_dict() for part in (recipe.text, recipe.atlas, recipe.samples, recipe.explain, recipe.score)]
    like = [ctx.site.short, recipe.dictionary.n_latents, active_per_row(ctx)]
    key = digest([ctx.model.digest, ctx.corpus.digest, like, *parts])
    path, folder = home / "random-latents.json", home / "random-latents"
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    if found.get("key") != key:
        dictionary = random_directions(ctx, ctx.site, rows_at(ctx, ctx.model, ctx.site, FITTED_ROWS))
        tokens, most = config.random_tokens, config.random_latents
        heldout = min(tokens, recipe.samples.tokens)
        interpreted = interpret(ctx, ctx.model, dictionary, ctx.site, folder, tokens, most, heldout)
        found = {"key": key, "means": {method: _means(scores) for method, scores in interpreted.scores.items()}}
        write_json(path, found)
    shutil.rmtree(folder, ignore_errors=True)
    return {method: {name: Estimate(**one) for name, one in of.items()} for method, of in found["means"].items()}


def _means(scores: Scores) -> dict[str, Any]:
    """Means by scorer, as plain values; scorers without a figure are left out."""
    return {
        one.scorer: bootstrap_mean([figure.value for figure in one.estimates.values()]).to_dict()
        for one in scores.figures
        if one.estimates
    }


def random_directions(ctx: RunContext, site: Site, rows: Float[Tensor, "rows d"]) -> RandomDirections:
    """Random directions at a site, as many and as sparse as the run's latents, fitted on rows of activations there."""
    latents = ctx.recipe.dictionary.n_latents
    about = Metadata(model=ctx.recipe.model.name, site=site, dataset=ctx.corpus.name)
    return RandomDirections.fit(rows, latents, min(active_per_row(ctx), latents), ctx.recipe.samples.seed, about)


def active_per_row(ctx: RunContext) -> int:
    """Latents of the run's dictionary that are active on a row: as many as it keeps, or as training ended."""
    k = ctx.recipe.dictionary.active_latents
    if k is not None:
        return k
    measured = read_json(ctx.dictionary_dir / "training.json").get("l0")
    return max(1, round(float(measured or ctx.recipe.dictionary.expected_active)))


@torch.inference_mode()
def rows_at(ctx: RunContext, model: LanguageModel, site: Site, wanted: int) -> Float[Tensor, "rows d"]:
    """Activations of a model at a site, of kept tokens of the training text."""
    parts: list[Tensor] = []
    for batch in ctx.batches(ctx.recipe.text.replace(tokens=wanted)):
        got = model.activations(batch.tokens.to(model.device), [site])[site].flatten(2).float()
        parts.append(got[batch.keep.to(got.device)])
    return torch.cat(parts)[:wanted].clone()
