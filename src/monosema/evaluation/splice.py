"""Several versions of the activations at one site, each run through the rest of the model.

Where the site is on the residual stream of our own decoder, the layers before it are computed once: at the site the
batch becomes as many batches as there are versions. Elsewhere each version is an edit of a whole forward pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import Site
from monosema.data import TokenBatch
from monosema.models import LanguageModel, Transformer, owner

__all__ = ["Versions", "can_fork", "forked_logits"]

Versions = Callable[[Tensor], Sequence[Tensor]]
"""From the activations at the site, [batch, pos, d], to their versions, each of the same shape."""

_RESIDUAL = ("embed", "resid_pre", "resid_mid", "resid_post")


def can_fork(model: LanguageModel, site: Site) -> bool:
    """Whether the layers before the site can be shared by all versions."""
    return isinstance(model, Transformer) and site.component in _RESIDUAL


def forked_logits(
    model: LanguageModel, site: Site, batch: TokenBatch, versions: Versions
) -> list[Float[Tensor, "batch pos vocab"]]:
    """Logits for the untouched activations, and for each of their versions.

    Of two models side by side, the one that has the site runs. Padding is on the right, so a causal model needs no mask
    for it.
    """
    model, site = owner(model, site)
    tokens = batch.tokens.to(model.device)
    if isinstance(model, Transformer) and can_fork(model, site):
        sizes: list[int] = []

        def fork(x: Tensor) -> Tensor:
            parts = [x, *(version.to(x.dtype) for version in versions(x))]
            sizes.append(len(parts))
            return torch.cat(parts)

        with model.attach(site, fork):
            logits = model(tokens)
        return list(logits.chunk(sizes[0]))
    mask = None if bool(batch.attention_mask.all()) else batch.attention_mask.to(model.device)
    with model.capture(site) as got:
        clean = model(tokens, mask)
    out = [clean]
    for version in versions(got[site]):
        with model.edit(site, functools.partial(_instead, version)):
            out.append(model(tokens, mask))
    return out


def _instead(version: Tensor, x: Tensor) -> Tensor:
    return version.to(x.dtype)
