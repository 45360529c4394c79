"""Actions: what is done to the value at a site, with gradients.

    zero         x ← 0
    patch        x ← v                            values of another pass
    mean         x ← mean over rows of v
    resample     x ← v of a row drawn at random
    noise        x ← x + σ ε                      ε normal
    clamp        x ← min(max(x, low), high)
    project_out  x ← x − (x − μ) Q Qᵀ             Q an orthonormal basis of what is taken out

An action is any function from a value and the forward pass to the value's successor: these, or one of your own.
`intervene` runs it at a site, or at a part of it. Where the causal mask hides attention scores they stay hidden.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from monosema.core import InputError, Site, SiteError, VectorError, torch_generator
from monosema.interventions.parts import WHOLE, Part
from monosema.models import Action, ForwardContext, LanguageModel


@contextlib.contextmanager
def intervene(model: LanguageModel, site: Site | str, action: Action, part: Part = WHOLE) -> Iterator[None]:
    """Run an action at a part of a site in every forward pass of the block.

    The action is given the whole value; what it makes of it is kept within the part. Several compose in the order in
    which they are entered.

    Raises:
        SiteError: the model has no such site, no pass of the block came to it, or the action gave another shape.
        InputError: a head, column or position that there is not.
    """
    with model.attach(site, within(Site.parse(site), part, action)):
        yield


def within(site: Site, part: Part, action: Action) -> Action:
    """Return the action that does to a part of a site's value what the given one does to all of it."""

    def act(x: Tensor, context: ForwardContext) -> Tensor:
        hidden = x == float("-inf") if site.component == "attn_scores" else None
        changed = action(x if hidden is None else x.masked_fill(hidden, 0.0), context)
        if changed.shape != x.shape:
            raise SiteError(
                f"An action at {site.short} must return a tensor of shape {tuple(x.shape)}, got {tuple(changed.shape)}."
            )
        mask = part.mask(site, x)
        if hidden is not None:
            mask = ~hidden if mask is None else mask & ~hidden
        return changed.to(x.dtype) if mask is None else torch.where(mask, changed.to(x.dtype), x)

    return act


def side_by_side(actions: Sequence[Action]) -> Action:
    """Return the action that does one thing each to equal parts of a batch, as forks lie below each other."""

    def act(x: Tensor, context: ForwardContext) -> Tensor:
        parts = x.chunk(len(actions))
        return torch.cat([action(part, context) for action, part in zip(actions, parts, strict=True)])

    return act


def zero() -> Action:
    """Put zeros there."""
    return lambda x, _: torch.zeros_like(x)


def patch(values: Shaped[Tensor, "..."]) -> Action:
    """Put values there, of the site's shape or one that broadcasts to it; gradients reach them.

    Raises SiteError, in the pass, for values that don't fit.
    """

    def act(x: Tensor, _: ForwardContext) -> Tensor:
        try:
            return values.to(x.device).expand_as(x)
        except RuntimeError:
            raise SiteError(
                f"Values of shape {tuple(values.shape)} can't stand in for some of {tuple(x.shape)}: take them from a "
                "pass over as many texts of the same length."
            ) from None

    return act


def mean(values: Float[Tensor, "rows ..."]) -> Action:
    """Put the mean over rows there, position by position (Wang et al. 2022, arXiv:2211.00593)."""
    return patch(values.mean(0, keepdim=True))


def resample(values: Shaped[Tensor, "rows ..."], seed: int = 0) -> Action:
    """Put the values of a row there that is drawn at random for each row, other than itself where they are as many.

    Source: causal scrubbing (Chan et al. 2022).
    """

    def act(x: Tensor, context: ForwardContext) -> Tensor:
        generator = torch_generator(seed, "resample")
        if len(values) == len(x) > 1:
            steps = torch.randint(1, len(x), (len(x),), generator=generator)
            rows = (torch.arange(len(x)) + steps) % len(x)
        else:
            rows = torch.randint(0, len(values), (len(x),), generator=generator)
        return patch(values[rows.to(values.device)])(x, context)

    return act


def noise(size: float, seed: int = 0) -> Action:
    """Add normal noise of a standard deviation, the same in every pass (Meng et al. 2022, arXiv:2202.05262)."""
    if not 0 <= size < float("inf"):
        raise InputError(f"size = {size} is not valid: give a standard deviation, 0 or more.")

    def act(x: Tensor, _: ForwardContext) -> Tensor:
        drawn = torch.randn(x.shape, generator=torch_generator(seed, "noise"))
        return x + size * drawn.to(x)

    return act


def clamp(low: float = -float("inf"), high: float = float("inf")) -> Action:
    """Hold values within bounds; equal ones set them."""
    if not low <= high:
        raise InputError(f"low = {low}, high = {high} are not valid: give the lower bound first.")
    # A set value has no gradient to what was there, which `clamp` alone gives where both are equal.
    return (lambda x, _: torch.full_like(x, low)) if low == high else (lambda x, _: x.clamp(low, high))


def project_out(basis: Float[Tensor, "k width"], centre: Float[Tensor, " width"] | None = None) -> Action:
    """Take out what values have of some directions, measured from a centre.

    Args:
        basis: directions of any norm and angle; what depends on others counts once.
        centre: where nothing is taken out; None for the origin.

    Raises:
        VectorError: directions that are not finite or all 0; in the pass, ones of another width.
    """
    rows = basis.detach().double()
    if not bool(rows.isfinite().all()) or not bool(rows.any()):
        raise VectorError("project_out needs finite directions other than 0.")
    _, sizes, across = torch.linalg.svd(rows, full_matrices=False)
    # width × rank; directions below the rounding of the largest are none.
    span = across[sizes > sizes[0] * max(rows.shape) * torch.finfo(torch.float32).eps].T

    def act(x: Tensor, _: ForwardContext) -> Tensor:
        if x.shape[-1] != len(span):
            raise VectorError(f"Directions of width {len(span):,} are taken out of values of width {x.shape[-1]:,}.")
        q = span.to(x)
        moved = x if centre is None else x - centre.to(x)
        return x - moved @ q @ q.T

    return act
