"""Encode and keep what lies above a floor, or the largest of a whole batch, without ever holding all pre-activations.

    pre = W x + b;   kept: pre > floor (one floor for each latent), or the n · k largest positive ones of n rows

The floor goes into the bias, so that one comparison with 0 on the output of the product decides. Entries that pass are
found by numpy's search for true bytes, which runs at memory speed where few are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosema.kernels.encode import BLOCK_BYTES, GPU_BLOCK_BYTES, with_bias, with_ones
from monosema.kernels.ragged import Ragged, ragged_value_products
from monosema.kernels.screening import (
    SELECTIVE,
    candidates_above,
    evenly_spaced,
    is_no_help,
    may_screen,
    precision,
    rounded,
    sampled_pre_activations,
)
from monosema.kernels.selection import BITS, ROWS_PER_THREAD, pool
from monosema.kernels.sharing import Grid

MARGIN = 1.5
"""Candidates that are collected for a batch's largest entries, as a multiple of their number."""


def encode_above_dense(
    x: Float[Tensor, "n d_in"],
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    floor: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, "n m"]:
    """The readable twin of `encode_above`: the whole matrix, 0 where an entry is not above its floor."""
    pre = x @ encoder.T + bias
    return torch.where(pre > (0 if floor is None else floor), pre, 0)


def encode_above(
    x: Float[Tensor, "n d_in"],
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    floor: Float[Tensor, " m"] | None = None,
    matmul_dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, " entries"], Ragged]:
    """The pre-activations that lie above their latent's floor, and where.

    Args:
        x: inputs, already centred.
        floor: one for each latent; None is 0 for all.
        matmul_dtype: precision of the matrix product; None keeps that of `x`. torch.int8 screens.

    Returns:
        values in the precision of `x`, rows one after the other, latents rising within a row.
    """
    shifted = bias if floor is None else bias - floor
    entries = _screened(x, encoder, shifted) if matmul_dtype == torch.int8 else None
    if entries is None:
        dtype = precision(matmul_dtype, x)
        entries = _positive(with_ones(x, dtype), with_bias(encoder, shifted, dtype))
    values, active = entries
    values = values.to(x.dtype)
    return (values if floor is None else values + floor[active.latents]), active


def encode_batch_top_k_dense(
    x: Float[Tensor, "n d_in"], encoder: Float[Tensor, "m d_in"], bias: Float[Tensor, " m"], k: int
) -> Float[Tensor, "n m"]:
    """The readable twin of `encode_batch_top_k`: the whole matrix, 0 where an entry is not among the largest."""
    codes = (x @ encoder.T + bias).relu()
    kept = codes.reshape(-1).topk(k * len(x))
    return torch.zeros_like(codes).reshape(-1).scatter(0, kept.indices, kept.values).view_as(codes)


def encode_batch_top_k(
    x: Float[Tensor, "n d_in"],
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    k: int,
    matmul_dtype: torch.dtype | None = None,
    grid: Grid | None = None,
    mean_rows: float | None = None,
) -> tuple[Float[Tensor, " entries"], Ragged]:
    """The n · k largest positive pre-activations of all n rows together, fewer where fewer are positive; exact.

    A few rows tell a floor that more than n · k entries of the batch should pass. Where enough do, the n · k largest
    are among them; where not, a lower floor is taken. Of equal entries at the border the earlier ones stay. Where
    processes share the batch or the latents (`grid`), the largest are those of all, and each gets its own.

    Args:
        mean_rows: rows of a group of processes, on average, where groups have different numbers of them.
    """
    rows = len(x) if mean_rows is None else mean_rows
    wanted = k * len(x) if grid is None else k * round(rows * grid.groups)
    sample = sampled_pre_activations(x, encoder, bias, matmul_dtype)
    margin, share = MARGIN, len(sample) * k / (1 if grid is None else grid.shards)
    sample = sample.float().reshape(-1)
    while True:
        candidates = int(margin * share) + 1
        floor = _smallest_of_largest(sample, candidates) if candidates < len(sample) else 0.0
        if grid is not None:
            floor = grid.lowest(floor)
        floors = bias.new_full((len(bias),), floor) if floor > 0 else None
        values, active = encode_above(x, encoder, bias, floors, matmul_dtype)
        found = len(values) if grid is None else grid.total(len(values))
        if found >= wanted or floor <= 0:
            break
        margin *= 2
    if found <= wanted:
        return values, active
    kept = _largest(values, wanted) if grid is None else grid.largest_of_all(values, wanted)
    return values[kept], active.keep(kept)


def _smallest_of_largest(values: Float[Tensor, " entries"], number: int) -> float:
    """The smallest of the `number` largest values."""
    if values.device.type == "cpu":
        return float(np.partition(values.numpy(), len(values) - number)[len(values) - number])
    return float(values.kthvalue(len(values) - number + 1).values)


def _largest(values: Float[Tensor, " entries"], number: int) -> Tensor:
    """Mark the `number` largest in a boolean vector: of equal values the earlier ones."""
    if number == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    border = _smallest_of_largest(values, number)
    kept = values > border
    equal = (values == border).nonzero().squeeze(1)
    kept[equal[: number - int(kept.sum())]] = True
    return kept


def _positive(
    rows: Float[Tensor, "n columns"], weight: Float[Tensor, "m columns"]
) -> tuple[Float[Tensor, " entries"], Ragged]:
    """The positive entries of rows · weightᵀ, in the precision of the product."""
    n, m = len(rows), len(weight)
    values, latents = [rows.new_empty(0)], [torch.empty(0, dtype=torch.int64, device=rows.device)]
    starts = torch.zeros(n + 1, dtype=torch.int64, device=rows.device)
    ends = torch.arange(1, n + 1, device=rows.device) * m
    found = 0
    for start, pre in _products(rows, weight):
        places = _places(pre)
        values.append(pre.view(-1).index_select(0, places))
        latents.append(places % m)
        within = torch.searchsorted(places, ends[: len(pre)])
        starts[start + 1 : start + 1 + len(pre)] = within + found
        found += len(places)
    return torch.cat(values), Ragged(torch.cat(latents), starts, m)


def _screened(
    x: Float[Tensor, "n d_in"], encoder: Float[Tensor, "m d_in"], bias: Float[Tensor, " m"]
) -> tuple[Float[Tensor, " entries"], Ragged] | None:
    """The positive pre-activations, found among candidates; None where that is no help."""
    if not may_screen(x):
        return None
    positive = sampled_pre_activations(x, encoder, bias) > 0
    if positive.sum() * SELECTIVE > positive.numel():
        return None
    whole = rounded(x, encoder, bias)
    if whole is None or is_no_help(positive, candidates_above(whole.some(evenly_spaced(len(x))))):
        return None
    active = candidates_above(whole)
    values = ragged_value_products(x, active, encoder).add_(active.spread(bias))
    kept = values > 0
    return values[kept], active.keep(kept)


def _products(rows: Tensor, weight: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Blocks of rows · weightᵀ, all in one piece of memory, with the row that each starts at."""
    n, m = len(rows), len(weight)
    block_bytes = BLOCK_BYTES if rows.device.type == "cpu" else GPU_BLOCK_BYTES
    step = max(1, block_bytes // (m * weight.element_size()))
    block = torch.empty(min(step, n), m, dtype=rows.dtype, device=rows.device)
    for start in range(0, n, step):
        part = rows[start : start + step]
        yield start, torch.mm(part, weight.T, out=block[: len(part)])


def _places(pre: Float[Tensor, "n m"]) -> Tensor:
    """Find the positive entries of a matrix, as indices into its flattened form."""
    if pre.device.type != "cpu" or pre.dtype not in BITS:
        return (pre.reshape(-1) > 0).nonzero().squeeze(1)
    # Integers of equal width have the sign of the numbers, and numpy compares them several times faster.
    bits = pre.view(BITS[pre.dtype]).view(-1).numpy()
    threads = min(torch.get_num_threads(), -(-len(pre) // ROWS_PER_THREAD))
    if threads <= 1:
        return torch.from_numpy(np.flatnonzero(bits > 0))
    step = -(-len(bits) // threads)
    places = pool(os.getpid()).map(
        lambda begin: np.flatnonzero(bits[begin : begin + step] > 0) + begin, range(0, len(bits), step)
    )
    return torch.from_numpy(np.concatenate(list(places)))
