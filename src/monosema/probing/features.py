"""Activations that probes read: of each text's last token, its mean over tokens, or all of its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.core import InputError, Site
from monosema.models import LanguageModel, Role
from monosema.models.context import padded

_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Words:
    """Activations at all tokens of texts.

    Attributes:
        x: padded on the right.
        mask: true at tokens of the texts themselves.
    """

    x: Float[Tensor, "n pos width"]
    mask: Bool[Tensor, "n pos"]


@torch.no_grad()
def last_activations(
    model: LanguageModel, sites: Sequence[Site], texts: Sequence[str]
) -> dict[Site, Float[Tensor, "n width"]]:
    """Return the activations of each text's last token, heads side by side, by one pass for all sites."""
    found: dict[Site, list[Tensor]] = {site: [] for site in sites}
    for mask, kept in _passes(model, sites, texts):
        last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
        for site in sites:
            found[site].append(kept[site].flatten(2)[torch.arange(len(last)), last].float())
    return {site: torch.cat(parts) for site, parts in found.items()}


@torch.no_grad()
def all_activations(model: LanguageModel, site: Site, texts: Sequence[str]) -> Words:
    """Return the activations of all tokens of texts."""
    parts = [(mask, kept[site].flatten(2).float()) for mask, kept in _passes(model, [site], texts)]
    longest = max(mask.shape[1] for mask, _ in parts)
    masks = [torch.nn.functional.pad(mask, (0, longest - mask.shape[1])) for mask, _ in parts]
    rows = [torch.nn.functional.pad(x, (0, 0, 0, longest - x.shape[1])) for _, x in parts]
    return Words(torch.cat(rows), torch.cat(masks))


def _passes(
    model: LanguageModel, sites: Sequence[Site], texts: Sequence[str]
) -> Iterator[tuple[Tensor, dict[Site, Tensor]]]:
    """Read texts; yields which positions are theirs, and activations, on the CPU."""
    special = torch.tensor(sorted(model.tokenizer.special_ids))
    for first in range(0, len(texts), _AT_ONCE):
        rows = model.tokenizer.encode_batch(list(texts[first : first + _AT_ONCE]))
        long = next((at for at, row in enumerate(rows) if len(row) > model.context), None)
        if long is not None:
            raise InputError(
                f"Text {first + long} has {len(rows[long]):,} tokens, and {model.name} reads {model.context:,} at "
                "most: shorten it."
            )
        ids = padded(rows, 0)
        there = padded([[Role.PROMPT] * len(row) for row in rows], Role.PADDING) != Role.PADDING
        ours = there & ~torch.isin(ids, special)
        if not bool(ours.any(1).all()):
            raise InputError(f"Text {first + int((~ours.any(1)).nonzero()[0])} has no tokens to look at.")
        kept = model.activations(ids.to(model.device), list(sites), there.to(model.device))
        yield ours, {site: kept[site].cpu() for site in sites}
