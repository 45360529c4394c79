"""The splice test: completion and chat on a dictionary's reconstructions, beside the untouched model and controls.

What a loss on held-out text does not show: the text that a model writes while its activations are replaced at every
position, each token read back through the reconstructions of all before it. Beside the dictionary stand, at the same
site and with the same noise, as many principal components as its L0, as many random directions as it has latents, and
the mean activation.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, Site
from monosema.data import TokenBatch
from monosema.dictionaries import Dictionary, sites_read, written_at
from monosema.evaluation.controls import controls_at
from monosema.evaluation.side_by_side import SideBySide, Version, side_by_side
from monosema.interventions import TEXT, put_rows, splice
from monosema.models import Action, ForwardContext, LanguageModel, Prompt

SPLICED = "spliced"
"""Name of the version on the dictionary's reconstructions."""


def splice_test(
    model: LanguageModel,
    dictionary: Dictionary,
    prompts: Sequence[Prompt],
    *,
    site: Site | str | None = None,
    error: str = "drop",
    text: Iterable[TokenBatch] | None = None,
    seed: int = 0,
    **settings: Any,
) -> SideBySide:
    """Continue prompts on a dictionary's reconstructions, beside the untouched model.

    Args:
        site: where the dictionary reads; None is what its metadata says.
        error: "drop" puts the reconstruction in place; "keep" adds what it leaves out, and changes nothing.
        text: batches that the controls are fitted to; None leaves them out.
        seed: of the noise that texts are drawn with.
        settings: fields of `GenerationConfig`.

    Raises:
        ConfigError: no site is known, or as `splice` and `side_by_side` raise it.
        InputError: as `side_by_side` raises it.
    """
    place = site or dictionary.metadata.site
    if place is None:
        raise ConfigError('The dictionary does not say which site it reads: give site="3.resid_post", or where it is.')
    place = Site.parse(place)
    versions: dict[str, Version] = {SPLICED: functools.partial(splice, model, {place: dictionary}, error=error)}
    if text is not None:
        read = sites_read(dictionary, place)
        _, written = written_at(dictionary, read[-1])
        controls, mean = controls_at(model, dictionary, read, written, text)
        for name, control in controls.items():
            versions[name] = functools.partial(splice, model, {written: control})
        versions["mean"] = functools.partial(model.attach, written, _mean_in_place(mean))
    return side_by_side(model, prompts, versions, seed=seed, **settings)


def _mean_in_place(mean: Float[Tensor, " d"]) -> Action:
    """Return the action that puts one vector where a dictionary's reconstructions would be."""

    def action(x: Tensor, context: ForwardContext) -> Tensor:
        where = torch.isin(context.roles, torch.tensor([*TEXT], device=x.device))
        return put_rows(x, where, mean.to(x.device).expand(int(where.sum()), -1))

    return action
