"""Several versions of the activations at one site, each run through the rest of the model.

Where the site is on the residual stream of our own decoder, the layers before it are computed once: at the site the
batch becomes as many batches as there are versions. Elsewhere each version is an edit of a whole forward pass. Our own
decoder gives the final residual stream, from which logits are made as they are needed; other models give logits, one
version at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.core import Site
from monosema.data import TokenBatch
from monosema.evaluation.losses import Unembed
from monosema.models import LanguageModel, Transformer, owner

Versions = Callable[[Tensor], Sequence[Tensor]]
"""From the activations at the site, [batch, pos, d], to their versions, each of the same shape."""

_RESIDUAL = ("embed", "resid_pre", "resid_mid", "resid_post")


def can_fork(model: LanguageModel, site: Site) -> bool:
    """Whether the layers before the site can be shared by all versions."""
    return isinstance(model, Transformer) and site.component in _RESIDUAL


def unembed_of(model: LanguageModel, site: Site) -> Unembed | None:
    """What makes logits of what `forked` gives; None where that is logits."""
    model, _ = owner(model, site)
    return model.logits if isinstance(model, Transformer) else None


def forked(
    model: LanguageModel, site: Site, batch: TokenBatch, versions: Versions, where: Bool[Tensor, "batch pos"]
) -> Iterator[Float[Tensor, "n _"]]:
    """Rows of the final residual stream, or of logits, at the places `where`: of the untouched activations, then of
    each of their versions.

    Of two models side by side, the one that has the site runs. Padding is on the right, so a causal model needs no mask
    for it.
    """
    model, site = owner(model, site)
    tokens, where = batch.tokens.to(model.device), where.to(model.device)
    if isinstance(model, Transformer) and can_fork(model, site):
        sizes: list[int] = []

        def fork(x: Tensor) -> Tensor:
            parts = [x, *(version.to(x.dtype) for version in versions(x))]
            sizes.append(len(parts))
            return torch.cat(parts)

        with model.attach(site, fork):
            final = model.final_residual(tokens)
        yield from (part[where] for part in final.chunk(sizes[0]))
        return
    mask = None if bool(batch.attention_mask.all()) else batch.attention_mask.to(model.device)
    run = model.final_residual if isinstance(model, Transformer) else model
    with model.capture(site) as got:
        clean = run(tokens, mask)[where]
    yield clean
    for version in versions(got[site]):
        with model.edit(site, functools.partial(_instead, version)):
            out = run(tokens, mask)[where]
        yield out


def _instead(version: Tensor, x: Tensor) -> Tensor:
    return version.to(x.dtype)
