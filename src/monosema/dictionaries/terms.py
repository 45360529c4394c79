"""What loss terms are made of, in every architecture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Losses, StepContext
from monosema.kernels.sharing import grid, rows_of_part

LEAST = 1e-12
"""Variance of a batch of equal rows, such as of one row: keeps its loss finite."""


def warm_up(context: StepContext, share: float) -> float:
    """Linear rise from 0 to 1 over a share of the run; 1 where the share is 0."""
    rise = share * context.steps
    return min(1.0, (context.step + 1) / rise) if rise > 0 else 1.0


_of_part: ContextVar[Tensor | None] = ContextVar("variance of a part", default=None)


@contextmanager
def part_of(batch: Float[Tensor, "n d"], parts: int) -> Iterator[None]:
    """Within it, losses are those of equal parts of a batch: their mean over parts is the whole's."""
    token = _of_part.set(batch_variance(batch) / parts)
    try:
        yield
    finally:
        _of_part.reset(token)


def mean_losses(losses: Sequence[Losses]) -> Losses:
    """The losses of a batch from those of its equal parts."""
    total, fvu = (torch.stack([getattr(part, name) for part in losses]).mean() for name in ("total", "fvu"))
    names = {name: None for part in losses for name in part.terms}
    nothing = torch.zeros_like(total)
    terms = {name: torch.stack([part.terms.get(name, nothing) for part in losses]).mean() for name in names}
    return Losses(total, terms, _joined([part.codes.padded() for part in losses]), fvu)


def _joined(parts: Sequence[Codes]) -> Codes:
    """Codes of all parts' rows."""
    width = max(part.values.shape[1] for part in parts)
    padded = [
        [torch.nn.functional.pad(of_part, (0, width - of_part.shape[1])) for of_part in (part.values, part.indices)]
        for part in parts
    ]
    values, indices = (torch.cat(of_parts) for of_parts in zip(*padded, strict=True))
    return Codes(values, indices, parts[0].n_latents)


def batch_variance(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Σ ‖x − x̄‖² over a batch. Where processes share it (`kernels.sharing`): of the whole batch, over their number.
    Within `part_of`: of that batch, over the number of its parts."""
    of_part = _of_part.get()
    if of_part is not None:
        return of_part
    together = grid()
    if together is None:
        return (x - x.mean(dim=0)).square().sum().clamp_min(LEAST)
    mean = together.sum_over_rows(x.sum(dim=0)) / (together.groups * max(1, rows_of_part(len(x))))
    whole = together.sum_over_rows((x - mean).square().sum())
    return (whole / together.groups).clamp_min(LEAST)


def losses_of(
    terms: dict[str, Float[Tensor, ""]],
    codes: Codes,
    residual: Float[Tensor, "n d"],
    variance: Float[Tensor, ""],
) -> Losses:
    """The sum of weighted terms, of which "mse" is the error, and what is recorded with them."""
    fvu = residual.detach().square().sum() / variance
    total = torch.stack(list(terms.values())).sum()
    return Losses(total, {n: t.detach() for n, t in terms.items()}, codes, fvu, terms["mse"], residual)
