"""Checks of a recipe before its first stage, so that what can't work is said at once and not after the long work."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch

from monosema.core import ConfigError, CorpusError, EmptySplitError
from monosema.data import TokenBatch
from monosema.dictionaries import Metadata, at_sites
from monosema.interpretation import check_explainers
from monosema.models import ModelPair, require_logits
from monosema.runs.context import RunContext
from monosema.training.target_l0 import target_of


def check(ctx: RunContext, stages: Collection[str]) -> None:
    """Find out what a stage would ask in vain: of the model, of the recipe, of the text's beginning.

    Args:
        stages: names of those that are to be made.

    Raises:
        SiteError, ConfigError: sites that the model or the architecture doesn't have, or a dictionary that can't be.
        InputError: no tokenizer, or an explainer that can't work with the model.
        UnsupportedModelError: a vocabulary of unknown size, or no logits for an objective that needs them.
        CorpusError: text that can't be read, or too little of it.
    """
    _check_model(ctx, stages)
    if "train" in stages:
        _check_dictionary(ctx)
    if "explain" in stages:
        check_explainers(ctx.recipe.explain, ctx.model)
    _check_text(ctx, stages)


def _check_model(ctx: RunContext, stages: Collection[str]) -> None:
    _ = ctx.widths
    for each in (ctx.model.first, ctx.model.second) if isinstance(ctx.model, ModelPair) else (ctx.model,):
        _ = each.tokenizer
        if "train" in stages and ctx.recipe.training.objective == "end-to-end":
            require_logits(each)
        if "evaluate" in stages or "atlas" in stages:
            _ = each.vocab


def _check_dictionary(ctx: RunContext) -> None:
    """Make the dictionary without memory for its numbers."""
    recipe = ctx.recipe
    with torch.device("meta"):
        about = at_sites(Metadata(), recipe.sites, recipe.output_site is not None)
        made = recipe.dictionary.make(ctx.widths, about, recipe.training.seed)
    target_of(made, recipe.training.target_l0, steps=1)


def _check_text(ctx: RunContext, stages: Collection[str]) -> None:
    """Read as much of each split as its stages need at least."""
    recipe = ctx.recipe
    training, rows = ctx.batches(recipe.text), 0
    batch = recipe.stream.batch if "train" in stages and recipe.training.objective == "reconstruction" else 1
    while rows - ctx.held_out_rows(rows) < batch:
        if (read := next(training, None)) is None:
            raise ConfigError(
                f"Training needs {batch:,} tokens for a batch, beside a tenth that is held out, and the text gives "
                f"{rows:,}. Give more of it with --tokens or --corpus, or take smaller batches with --batch."
            )
        rows += int(read.keep.sum())
    if "evaluate" in stages or "explain" in stages:
        least = recipe.samples.least if "explain" in stages else 1
        heldout = ctx.batches(recipe.text.replace(split="heldout", tokens=recipe.samples.tokens))
        if not any(_has_stretch(read, least) for read in _readable(heldout, ctx)):
            raise CorpusError(
                f"The held-out text has no stretch of {least} tokens of one document, for passages. Give longer "
                "documents or --window, hold out more with --heldout-share, or lower --samples.least."
            )


def _readable(heldout: Iterator[TokenBatch], ctx: RunContext) -> Iterator[TokenBatch]:
    """Yield batches of the held-out text, and say what to do where there are none."""
    try:
        yield from heldout
    except EmptySplitError:
        raise CorpusError(
            f"The text {ctx.corpus.name} has no held-out document to measure on: heldout-share = "
            f"{ctx.recipe.text.heldout_share} of its documents gives none. Raise --heldout-share, give more documents, "
            "or stop before evaluation with `monosema train`."
        ) from None


def _has_stretch(batch: TokenBatch, least: int) -> bool:
    """True if so many tokens of one document stand side by side in a row, one of them kept at least."""
    if batch.document.shape[1] < least:
        return False
    document, keep = batch.document.unfold(1, least, 1), batch.keep.unfold(1, least, 1)
    of_one = (document >= 0) & (document == document[..., :1])
    return bool((of_one.all(dim=-1) & keep.any(dim=-1)).any())
