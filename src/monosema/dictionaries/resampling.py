"""Resampling of silent latents: a new start, towards what the dictionary does worst.

`resample`: Bricken et al. 2023, "Towards Monosemanticity", appendix on autoencoder training.

At a few points of the run, each latent that has been silent since half way from the point before is given a new start:
a row x of the batch is drawn with probability ∝ L(x)², L its loss; the decoder row becomes (x − b_dec) / ‖x − b_dec‖,
the encoder row the same times 0.2 of the mean norm of living encoder rows, the bias 0. The optimiser forgets these
latents.

Departures. Rows come from the batch at hand and not from 819,200 others, and L is their squared error; they are
centred, as the encoder sees them. The points are shares of the run and not step numbers: those of the paper's
run of 200,000.

`resample_towards_residuals` is ours, for architectures that keep the largest or have thresholds: a latent that has been
silent since the point before gets the direction u of a residual e = x − x̂ as decoder row, the bias 0, and as encoder
row the filter that finds u among rows of covariance C:

    w = 0.8 ‖w̄‖ (C + λI)⁻¹ u / (uᵀ (C + λI)⁻¹ u),   λ = 10 tr C / d

with ‖w̄‖ the mean norm of living encoder rows. Rows are drawn with probability ∝ ‖e‖² / (‖x‖² + its mean): large rows
by the share of them that is left unexplained. Directions of rows are what living latents have already: at a norm that
wins a place they take theirs, and reconstruction suffers. With u itself as encoder row, and rows drawn by ‖e‖² alone, a
batch in which a few directions hold most of the variance sent all new latents along them, to answer to every row of
large norm at once: where a batch and not each row bounds the active latents (BatchTopK, Matryoshka), the error rose a
hundredfold, and runs did not recover. Measurements are in benchmarks/results/robustness.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.core import torch_generator
from monosema.dictionaries.initialisation import unit_rows_
from monosema.dictionaries.protocol import Coder, StepContext

RESAMPLE_AT = (0.125, 0.25, 0.375, 0.5)
"""Steps 25,000, 50,000, 75,000 and 100,000 of the paper's 200,000, as shares of the run."""
ENCODER_SHARE = 0.2
"""Norm of new encoder rows, as a share of the mean norm of living ones (Bricken et al. 2023)."""
OFTEN = tuple(number / 20 for number in range(1, 18))
"""Every twentieth of the run until 0.85 of it: later ones have no time to learn."""
RESIDUALS = 1024
"""Rows of a batch, at least, that new starts are chosen among."""
ROWS_TO_CHOOSE = 4
"""Rows for each latent: reconstructing all of a large batch again would cost as much as a step."""
WINNING_SHARE = 0.8
"""Norm of the same along what they look for, where the largest win: at norms like the living ones' FVU suffers."""
RIDGE = 10.0
"""λ, in units of the mean variance: directions of less are no reason to turn a filter away."""


@torch.no_grad()
def resample(
    coder: Coder, x: Float[Tensor, "n d_in"], y: Float[Tensor, "n d_out"], context: StepContext, points: Sequence[float]
) -> Int[Tensor, " latents"]:
    """Give silent latents a new start if the run has just reached one of the points; return which."""
    latents = _silent(coder, context, points, 0.5) if len(x) else None
    if latents is None:
        return coder.silent_tokens.new_empty(0)
    if len(latents):
        squares = (y - coder.decode(coder.encode(x))).square().sum(dim=1)
        read = None if y is x else _inputs(coder, x, y)
        _restart(coder, latents, y - coder.b_dec, squares.square(), ENCODER_SHARE, context, read)
    return latents


@torch.no_grad()
def resample_towards_residuals(
    coder: Coder,
    x: Float[Tensor, "n d_in"],
    y: Float[Tensor, "n d_out"],
    context: StepContext,
    points: Sequence[float],
    averaged: Sequence[str] = (),
) -> Int[Tensor, " latents"]:
    """Give latents that were silent since the last point a new start where the run reaches the next; return which.

    Args:
        x, y: inputs and targets. Where they are not the same rows, encoder rows point towards x − x̄ of the row that the
            residual is of.
        averaged: tensors that decide which latents are active, such as thresholds: new ones get the mean of living
            ones.
    """
    latents = _silent(coder, context, points, 1.0) if len(x) else None
    if latents is None:
        return coder.silent_tokens.new_empty(0)
    wanted = sum(_of_shards(len(latents), context))
    if wanted:
        separate = y is not x
        x = x[: max(RESIDUALS, ROWS_TO_CHOOSE * wanted)]
        y = y[: len(x)] if separate else x
        codes = coder.encode(x, context.matmul_dtype, context.grid)
        residuals = y - coder.decode(codes, context.grid)
        centred = _inputs(coder, x, y)
        energy = y.square().sum(dim=1)
        shares = residuals.square().sum(dim=1) / (energy + energy.mean()).clamp_min(torch.finfo(energy.dtype).tiny)
        _restart(coder, latents, residuals, shares, WINNING_SHARE, context, centred if separate else None)
        coder.W_enc[latents] = filters(coder.W_enc[latents], centred)
        living = torch.ones(coder.n_latents, dtype=torch.bool, device=x.device)
        living[latents] = False
        for name in averaged if len(latents) and living.any() else ():
            values = coder.own(name)
            values.data[latents] = values.data[living].mean()
    return latents


def _inputs(coder: Coder, x: Float[Tensor, "n d_in"], y: Float[Tensor, "n d_out"]) -> Float[Tensor, "n d_in"]:
    """Inputs as the encoder sees them: x − b_dec, or x − x̄ where it reads another site than is written."""
    if y is not x:
        return x - x.mean(dim=0)
    return x if coder.centre is None else x - coder.centre


def filters(rows: Float[Tensor, "latents d"], x: Float[Tensor, "n d"]) -> Float[Tensor, "latents d"]:
    """Return for each row r the filter w ∝ (C + λI)⁻¹ r with w·r = ‖r‖² that answers least to vectors like x.

    Args:
        x: vectors of covariance C = xᵀx / n.
    """
    n, d = x.shape
    least = torch.finfo(x.dtype).tiny
    ridge = (RIDGE * x.square().mean()).clamp_min(least)
    if d <= n:
        spread = x.T @ x / n
        spread.diagonal().add_(ridge)
        found = torch.linalg.solve_ex(spread, rows.T).result.T
    else:  # (C + λI)⁻¹ = (I − xᵀ (x xᵀ + nλI)⁻¹ x) / λ, where n × n is smaller than d × d
        gram = x @ x.T
        gram.diagonal().add_(n * ridge)
        found = (rows - torch.linalg.solve_ex(gram, x @ rows.T).result.T @ x) / ridge
    squares = rows.square().sum(dim=1, keepdim=True)
    return found * (squares / (found * rows).sum(dim=1, keepdim=True).clamp_min(least))


def at_a_point(context: StepContext, points: Sequence[float]) -> bool:
    """True where the run has just reached one of the points."""
    return any(context.step + 1 == _step_of(point, context) for point in points)


def _step_of(point: float, context: StepContext) -> int:
    return max(1, round(point * context.steps))


def _silent(
    coder: Coder, context: StepContext, points: Sequence[float], share: float
) -> Int[Tensor, " latents"] | None:
    """At a point of the run: latents that were silent for a share of the stretch since the one before; else None."""
    for previous, point in itertools.pairwise((0.0, *points)):
        if context.step + 1 == _step_of(point, context):
            silent = max(1, round((point - previous) * share * context.vectors))
            return (coder.silent_tokens >= silent).nonzero().squeeze(1)
    return None


def _of_shards(number: int, context: StepContext) -> tuple[int, ...]:
    """The numbers of all processes that share the latents, in order."""
    return (number,) if context.grid is None or context.shards == 1 else context.grid.numbers_of_shards(number)


def _living_norm(coder: Coder, latents: Int[Tensor, " latents"], context: StepContext) -> Float[Tensor, ""]:
    """Mean norm of the encoder rows of all other latents; of all, where there are no others."""
    living = torch.ones(coder.n_latents, dtype=torch.bool, device=latents.device)
    living[latents] = False
    norms, grid = torch.linalg.vector_norm(coder.W_enc, dim=1), context.grid
    if grid is None or grid.shards == 1:
        return norms[living].mean() if living.any() else norms.mean()
    sums = torch.stack([norms[living].sum(), living.sum().to(norms.dtype), norms.sum()])
    total, number, of_all = grid.sum_over_latents(sums).unbind()
    return total / number if number > 0 else of_all / (coder.n_latents * grid.shards)


def _restart(
    coder: Coder,
    latents: Int[Tensor, " latents"],
    towards: Float[Tensor, "n d_out"],
    weights: Float[Tensor, " n"],
    encoder_share: float,
    context: StepContext,
    read: Float[Tensor, "n d_in"] | None = None,
) -> None:
    # A loss that is no number stops the run where it is next looked at, and says so better than the draw would.
    weights = weights.cpu().double().nan_to_num(0.0, 0.0, 0.0)
    weights = weights / weights.max().clamp_min(torch.finfo(weights.dtype).tiny) + 1e-12
    counts = _of_shards(len(latents), context)
    first = 0 if context.grid is None else sum(counts[: context.grid.shard])
    drawn = torch.multinomial(weights, sum(counts), True, generator=torch_generator(context.step, "resampling"))
    drawn = drawn[first : first + len(latents)].to(towards.device)
    rows = unit_rows_(towards[drawn])
    norm = _living_norm(coder, latents, context)
    coder.W_dec[latents] = rows
    coder.W_enc[latents] = (rows if read is None else unit_rows_(read[drawn])) * (encoder_share * norm)
    coder.b_enc[latents] = 0
    coder.silent_tokens[latents] = 0
