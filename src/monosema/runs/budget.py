"""Number of held-out tokens of an evaluation, where the recipe leaves that open.

A token of an evaluation goes through the layers after the site, and the unembedding, once for each version that is
compared; one of the training text stops at the site. So an evaluation takes as much text as costs no more than capture
and training do, by count of multiplications: a block of width d has some 12 d² weights.
"""

from __future__ import annotations

from monosema.core import UnsupportedModelError
from monosema.models import LanguageModel
from monosema.runs.recipe import Recipe

VERSIONS = 6
"""Versions that evaluation compares: the model alone, the dictionary and two controls, mean and zero."""
CONTROL_ROWS = 65_536
"""Rows that the controls (PCA, random directions) are fitted on, at most."""
LEAST, MOST = 10_000, 100_000
"""Tokens below which intervals are wide, and beyond which they hardly narrow what is known."""
_TRAINING = 4
"""Products of a training step, in multiples of one encoder's product of its rows: measured, it takes about twice as
long as that product, of 2 operations a weight."""


def evaluation_budget(recipe: Recipe, layers: int, width: int, vocab: int) -> int:
    """Tokens to evaluate on: what the recipe says, or as many as take no longer than capture and training; of a given
    dictionary, than its atlas.

    Args:
        layers, width, vocab: of the model.
    """
    if recipe.evaluation_tokens is not None:
        return recipe.evaluation_tokens
    if recipe.text.tokens is None:
        return MOST
    block = 24 * width**2
    before = min(layers, 1 + max(layers if site.layer is None else site.layer for site in recipe.sites))
    rest = (layers - before) * block + 2 * width * vocab
    tokens, steps = recipe.text.tokens, _TRAINING * recipe.stream.passes
    if recipe.given is not None:
        tokens, steps = min(tokens, recipe.atlas_tokens or tokens), 2
    learning = before * block + steps * recipe.dictionary.n_latents * width
    measuring = before * block + VERSIONS * rest
    return min(MOST, max(LEAST, int(tokens * learning / measuring)))


def decided(recipe: Recipe, model: LanguageModel) -> Recipe:
    """The recipe with its number of tokens; of a model that doesn't say its size, the most."""
    if recipe.evaluation_tokens is not None:
        return recipe
    try:
        tokens = evaluation_budget(recipe, model.n_layers, model.d_model, model.vocab)
    except UnsupportedModelError:
        tokens = MOST
    return recipe.replace(evaluation_tokens=tokens)
