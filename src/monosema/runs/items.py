"""Runs over vectors of items: the recipe that two files, and a few keys, say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from monosema.activations import CaptureConfig, open_vectors
from monosema.atlas import AtlasConfig
from monosema.core import InputError, Site, VectorError, counted
from monosema.data import TextConfig
from monosema.dictionaries import dictionary_config
from monosema.evaluation import EvaluationConfig
from monosema.interpretation import ExplainConfig, SampleConfig, ScoringConfig
from monosema.items import read_items
from monosema.items.batches import is_heldout
from monosema.runs.budget import MOST
from monosema.runs.overrides import override, parse_keys
from monosema.runs.recipe import SHORT_KEYS, CorpusChoice, ModelChoice, Recipe, StreamChoice

STEPS = 3_000
"""Steps that training makes at least, where passes are not given: few items are seen many times."""
_ITEM_KEYS = {**SHORT_KEYS, "name_column": "corpus.column"}


def item_recipe(
    activations: str | Path, names: str | Path, words: Sequence[str] = (), seed: int | None = None
) -> Recipe:
    """Return the recipe of a run over items; what depends on their number is decided here.

    Args:
        activations: file of the vectors, or a folder of such files.
        names: file of the names, and of what else is known of the items.
        words: `--key value`, as for a recipe; `--name-column` is the column of the names.
        seed: of all that is random.

    Raises:
        VectorError: vectors that can't be read, or too few of them.
        InputError: names that don't fit them, plain words, or unknown keys.
    """
    plain, overrides = parse_keys(words)
    if plain:
        raise InputError(f"With --activations there is no recipe: {plain[0]!r} is not a key. Keys begin with --.")
    vectors = open_vectors(activations, check=False)
    rows, width = vectors.rows, vectors.width()
    given = overrides.get("name-column", overrides.get("name_column"))
    items = read_items(names, rows, Path(activations).name, given)
    latents = 2 ** int(np.log2(max(16, min(8 * width, rows / 16, 16_384))))
    recipe = Recipe(
        name=re.sub(r"[^\w.\-]", "-", Path(activations).stem).lstrip(".-") or "items",
        site=(Site.parse("vectors"),),
        evaluation_tokens=MOST,
        atlas_tokens=rows,
        model=ModelChoice(name=str(activations), dtype="float32"),
        corpus=CorpusChoice(source=str(names), column=items.name_column),
        text=TextConfig(tokens=rows, heldout_share=0.1),
        capture=CaptureConfig(extreme_norm=None),
        dictionary=dictionary_config("topk", n_latents=latents, k=max(2, min(32, width // 8, latents // 16))),
        stream=StreamChoice(batch=max(1, min(4096, 2 ** int(np.log2(max(32, rows / 16))), rows // 2))),
        evaluation=EvaluationConfig(loss=False),
        atlas=AtlasConfig(before=0, after=0, inactive=10),
        samples=SampleConfig(least=1),
        explain=ExplainConfig(methods=("columns",)),
        score=ScoringConfig(scorers=("detection",)),
    )
    if seed is not None:
        recipe = recipe.seeded(seed)
    recipe = override(recipe, overrides, _ITEM_KEYS)
    held = int(is_heldout(np.arange(rows), recipe.text.heldout_share).sum())
    if not held or rows - held < recipe.stream.batch:
        raise VectorError(
            f"{activations} has {counted(rows, 'row')}: with {held:,} held out, {rows - held:,} are left to train on, "
            f"and a batch takes {recipe.stream.batch:,}. Give more rows, a smaller --batch, or another --heldout-share."
        )
    stream = recipe.stream
    if not {"passes", "stream.passes"} & set(overrides):
        stream = stream.replace(passes=max(1, -(-STEPS // ((rows - held) // stream.batch))))
    return recipe.replace(stream=stream, evaluation_tokens=min(held, recipe.evaluation_tokens or MOST))
