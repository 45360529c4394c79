"""Directions from texts, and at random.

    mean difference   d = mean over positive texts of x̄ − mean over negative texts of x̄

where x̄ is a text's mean activation over its tokens, or that of its last (Marks & Tegmark 2023, arXiv:2310.06824;
Panickssery et al. 2023, arXiv:2312.06681). Special tokens and what a chat's template wrote are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import InputError, Site, torch_generator
from monosema.models import GenerationConfig, LanguageModel, Prompt, Role, read_prompt, vector_width
from monosema.models.context import padded
from monosema.steering.coordinates import Direction

_TEXTS_AT_ONCE = 16
_TEXTS = GenerationConfig()


def mean_difference(
    model: LanguageModel,
    site: Site | str,
    positive: Sequence[Prompt],
    negative: Sequence[Prompt],
    *,
    tokens: Literal["all", "last"] = "all",
    name: str = "mean difference",
) -> Direction:
    """Return the mean activation of positive texts less that of negative ones; to add it once is the whole difference.

    Args:
        positive, negative: texts, token ids or messages of chats.
        tokens: the tokens of a text that stand for it.

    Raises:
        InputError: no texts on a side, or one without tokens.
    """
    sides = []
    for side, texts in (("positive", positive), ("negative", negative)):
        if isinstance(texts, str) or not len(texts):
            raise InputError(f"mean_difference needs a list of {side} texts, and there are none.")
        sides.append(mean_activations(model, site, texts, tokens).mean(dim=0))
    return Direction(site, sides[0] - sides[1], name)


@torch.no_grad()
def mean_activations(
    model: LanguageModel, site: Site | str, texts: Sequence[Prompt], tokens: Literal["all", "last"] = "all"
) -> Float[Tensor, "n width"]:
    """Return the mean activation of each text over its tokens, or the activation of its last, heads side by side.

    Raises:
        InputError: a text without tokens.
    """
    found = []
    special = torch.tensor(sorted(model.tokenizer.special_ids))
    for first in range(0, len(texts), _TEXTS_AT_ONCE):
        read = [read_prompt(text, model.tokenizer, _TEXTS) for text in texts[first : first + _TEXTS_AT_ONCE]]
        ids, roles = padded([one.ids for one in read], 0), padded([one.roles for one in read], Role.PADDING)
        ours = (roles == Role.PROMPT) & ~torch.isin(ids, special)
        if not bool(ours.any(dim=1).all()):
            raise InputError(f"Text {first + int((~ours.any(dim=1)).nonzero()[0])} has no tokens to look at.")
        if tokens == "last":
            ours &= ours.flip(1).cumsum(dim=1).flip(1) == 1
        mask = (roles != Role.PADDING).to(model.device)
        x = model.activations(ids.to(model.device), [site], mask)[site].flatten(2).float().cpu()
        weights = ours.float() / ours.sum(dim=1, keepdim=True)
        found.append(torch.einsum("np,npd->nd", weights, x))
    return torch.cat(found)


def random_direction(model: LanguageModel, site: Site | str, seed: int = 0, norm: float = 1.0) -> Direction:
    """Draw a direction of a norm, uniform over all: the control of a direction that means something."""
    drawn = torch.randn(vector_width(model, site), generator=torch_generator(seed, "random direction"))
    return Direction(site, drawn * (norm / float(drawn.norm())), f"random {seed}")
