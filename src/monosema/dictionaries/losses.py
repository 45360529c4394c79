"""Loss terms of every activation, and the error of nested prefixes.

Matryoshka SAEs (Bussmann et al. 2025, arXiv:2503.17547) learn from the error of nested prefixes of the latents,
m_1 < … < m_G = m:

    x̂^(j) = Σ_{i < m_j} c_i W_dec,i + b_dec,   error = 1/G Σ_j ‖x − x̂^(j)‖²

Early latents must reconstruct alone, so general features stay whole there, and later ones refine. All prefixes are
decoded in one pass: entries of a row are summed by the part of the dictionary that they lie in, and prefixes are
running sums over parts. Where processes share the latents, each decodes what of the parts lies among its own, and sums
over processes make the parts whole. Departure: the mean over prefixes instead of their sum, so that the weights of
other terms keep their meaning.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Coder, Losses, StepContext
from monosema.kernels import Active, Ragged, Selection, decode_active

LEAST = 1e-12
"""Variance of a batch of equal rows, such as of one row: keeps its loss finite."""


def batch_variance(x: Float[Tensor, "n d"], context: StepContext | None = None) -> Float[Tensor, ""]:
    """Σ ‖x − x̄‖² over a batch. Where processes share it: of the whole batch, over their number; where the context has
    the variance of a batch that these rows are a part of, that."""
    if context is not None and context.variance is not None:
        return context.variance
    grid = None if context is None else context.grid
    if context is None or grid is None:
        return (x - x.mean(dim=0)).square().sum().clamp_min(LEAST)
    mean = grid.sum_over_rows(x.sum(dim=0)) / (grid.groups * context.rows(len(x)))
    whole = grid.sum_over_rows((x - mean).square().sum())
    return (whole / grid.groups).clamp_min(LEAST)


def combine_losses(
    terms: dict[str, Float[Tensor, ""]],
    codes: Codes,
    residual: Float[Tensor, "n d"],
    variance: Float[Tensor, ""],
) -> Losses:
    """Sum weighted terms, of which "mse" is the error."""
    fvu = residual.detach().square().sum() / variance
    total = torch.stack(list(terms.values())).sum()
    return Losses(total, {n: t.detach() for n, t in terms.items()}, codes, fvu, terms["mse"], residual)


def mean_losses(losses: Sequence[Losses]) -> Losses:
    """Make the losses of a batch from those of its equal parts."""
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


def prefix_sizes(shares: Sequence[float], n_latents: int) -> list[int]:
    """Latents of each prefix."""
    return [max(1, round(share * n_latents)) for share in shares]


def prefix_errors(
    coder: Coder,
    shares: Sequence[float],
    target: Float[Tensor, "n d"],
    values: Tensor,
    active: Active,
    context: StepContext,
) -> tuple[Float[Tensor, ""], Float[Tensor, "n d"]]:
    """The squared error summed over rows, mean over prefixes, and the residual of all latents together."""
    grid = context.grid
    sizes = prefix_sizes(shares, coder.n_latents * context.shards)
    first = 0 if grid is None else grid.shard * coder.n_latents
    bounds = [min(max(size - first, 0), coder.n_latents) for size in sizes[:-1]]
    if isinstance(active, Ragged):
        nested = _by_part(active, bounds)
        decoded = decode_active(values, nested, coder.W_dec, grid)
        of_parts = decoded.view(len(target), len(sizes), coder.W_dec.shape[1]).unbind(dim=1)
    else:
        columns = active.indices if isinstance(active, Selection) else torch.arange(coder.n_latents)
        part = torch.bucketize(columns.to(values.device), torch.tensor(bounds, device=values.device), right=True)
        kept = (torch.where(part == number, values, 0) for number in range(len(sizes)))
        of_parts = tuple(decode_active(some, active, coder.W_dec, grid) for some in kept)
    residual = target - coder.b_dec
    errors = []
    for part in of_parts:
        residual = residual - part
        errors.append(residual.square().sum())
    return torch.stack(errors).mean(), residual


def _by_part(active: Ragged, bounds: Sequence[int]) -> Ragged:
    """Make each part of a row a row of its own: latents rise within rows, so no entry moves."""
    edges, parts = torch.tensor(bounds, device=active.latents.device), len(bounds) + 1
    rows = active.rows * parts + torch.bucketize(active.latents, edges, right=True)
    counts = torch.bincount(rows, minlength=len(active) * parts)
    starts = torch.zeros(len(counts) + 1, dtype=torch.int64, device=rows.device)
    torch.cumsum(counts, 0, out=starts[1:])
    return Ragged(active.latents, starts, active.n_latents)
