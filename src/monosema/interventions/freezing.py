"""Attention patterns and norm scales held at what they are on a text, so that what is left of the model is linear in
between MLPs: an attribution along fixed attention (Elhage et al. 2021; Ameisen et al. 2025)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from jaxtyping import Int
from torch import Tensor

from monosema.core import Site, UnsupportedModelError
from monosema.models import Action, Captured, ForwardContext, LanguageModel


@contextlib.contextmanager
def frozen(
    model: LanguageModel,
    tokens: Int[Tensor, "batch pos"],
    *,
    patterns: bool = True,
    norms: bool = True,
    final_norm: bool | None = None,
) -> Iterator[Captured]:
    """Hold attention patterns and norms' scales in every forward pass of the block; no gradient goes through them.

    Passes may be over other texts of the same length, over any multiple of the rows (versions one below another), over
    the last position alone at the final norm, and with heads that read copies of the stream.

    Args:
        tokens: the text whose values hold, as the model with what is attached to it now computes them.
        patterns: hold each head's attention.
        norms: hold the scales of all norms of the residual stream, those after attention and MLP included.
        final_norm: hold that of the norm before the logits; None: as those of the blocks.

    Yields:
        The values that hold.

    Raises:
        UnsupportedModelError: a model of another library, whose patterns and scales are not sites.
    """
    final_norm = norms if final_norm is None else final_norm
    sites = [site for site in model.sites() if _is_frozen(site, patterns, norms, final_norm)]
    if not sites and (patterns or norms or final_norm):
        raise UnsupportedModelError(
            f"{model.name!r} runs by another library, whose attention patterns and norms are not sites: only a model "
            "of a family that is read into our own decoder can be frozen (see docs/models.md)."
        )
    values = model.activations(tokens, sites) if sites else Captured()
    with contextlib.ExitStack() as stack:
        for site in sites:
            stack.enter_context(model.attach(site, _hold(values[site])))
        yield values


def _is_frozen(site: Site, patterns: bool, norms: bool, final_norm: bool) -> bool:
    scale = site.component.endswith(".scale") and (final_norm if site.layer is None else norms)
    return scale or (patterns and site.component == "pattern")


def _hold(held: Tensor) -> Action:
    def act(x: Tensor, _: ForwardContext) -> Tensor:
        own = held
        if x.ndim == own.ndim + 1:
            own = own[:, :, None]  # A norm of copies of the stream, one for each head.
        own = own[:, -x.shape[1] :] if x.shape[1] < own.shape[1] else own
        return own.repeat(len(x) // len(own), *[1] * (own.ndim - 1)).expand_as(x).to(x.dtype)

    return act
