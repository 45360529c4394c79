"""Products with sparse codes on a GPU, in Triton: decode, and the gradients of values and of both matrices.

The same functions as in `sparse`, which calls these for tensors on a GPU. Sums are accumulated in float32, in a fixed
order and without atomic operations, so that two runs give equal bits.

Tested with Triton's interpreter against the dense twins. Their speed was not measured: no GPU was at hand.
"""

from __future__ import annotations

import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from monosema.kernels.selection import Selection

WIDEST = 1024
"""Columns of a row that one program works on at most."""
AT_ONCE = 8
"""Rows that a program gathers at once, so that many reads are on their way together."""


@triton.jit
def _weighted_sum(
    weights, rows, source, first, last, columns, inside, stride, WIDTH: tl.constexpr, AT_ONCE: tl.constexpr
):
    """Σ over pairs first ≤ p < last of weights[p] · source[rows[p], columns], in float32."""
    total = tl.zeros([WIDTH], dtype=tl.float32)
    for start in range(first, last, AT_ONCE):
        pairs = start + tl.arange(0, AT_ONCE)
        there = pairs < last
        weight = tl.load(weights + pairs, mask=there, other=0.0).to(tl.float32)
        row = tl.load(rows + pairs, mask=there, other=0).to(tl.int64)
        taken = there[:, None] & inside[None, :]
        gathered = tl.load(source + row[:, None] * stride + columns[None, :], mask=taken, other=0.0)
        total += tl.sum(gathered.to(tl.float32) * weight[:, None], axis=0)
    return total


@triton.jit
def _decode_kernel(values, indices, rows, out, k, width, WIDTH: tl.constexpr, AT_ONCE: tl.constexpr):
    """One program for each row of codes and each block of columns."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = columns < width
    first = row * k
    total = _weighted_sum(values, indices, rows, first, first + k, columns, inside, width, WIDTH, AT_ONCE)
    tl.store(out + row * width + columns, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _row_sums_kernel(weights, rows, bounds, source, out, width, WIDTH: tl.constexpr, AT_ONCE: tl.constexpr):
    """One program for each latent and each block of columns: the run of pairs that belongs to the latent."""
    latent = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = columns < width
    first, last = tl.load(bounds + latent), tl.load(bounds + latent + 1)
    total = _weighted_sum(weights, rows, source, first, last, columns, inside, width, WIDTH, AT_ONCE)
    tl.store(out + latent * width + columns, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _value_products_kernel(grad, indices, rows, out, k, width, WIDTH: tl.constexpr, AT_ONCE: tl.constexpr):
    """One program for each row and each few of its latents: ⟨grad, row of the latent⟩, over blocks of columns."""
    row = tl.program_id(0).to(tl.int64)
    places = tl.program_id(1) * AT_ONCE + tl.arange(0, AT_ONCE)
    there = places < k
    latent = tl.load(indices + row * k + places, mask=there, other=0).to(tl.int64)
    total = tl.zeros([AT_ONCE], dtype=tl.float32)
    for start in range(0, width, WIDTH):
        columns = start + tl.arange(0, WIDTH)
        inside = columns < width
        one = tl.load(grad + row * width + columns, mask=inside, other=0.0).to(tl.float32)
        taken = there[:, None] & inside[None, :]
        others = tl.load(rows + latent[:, None] * width + columns[None, :], mask=taken, other=0.0)
        total += tl.sum(others.to(tl.float32) * one[None, :], axis=1)
    tl.store(out + row * k + places, total.to(out.dtype.element_ty), mask=there)


def sparse_decode(
    values: Float[Tensor, "n k"], indices: Int[Tensor, "n k"], rows: Float[Tensor, "m d_out"]
) -> Float[Tensor, "n d_out"]:
    """Σ_j values[:, j] · rows[indices[:, j]], in the precision of `rows`."""
    n, k = values.shape
    width = rows.shape[1]
    out = rows.new_empty(n, width)
    block = _block(width)
    _decode_kernel[(n, triton.cdiv(width, block))](
        values.contiguous(), indices.contiguous(), rows.contiguous(), out, k, width, WIDTH=block, AT_ONCE=AT_ONCE
    )
    return out


def value_products(
    grad: Float[Tensor, "n d_out"], indices: Int[Tensor, "n k"], rows: Float[Tensor, "m d_out"]
) -> Float[Tensor, "n k"]:
    """⟨grad[n], rows[indices[n, j]]⟩, in the precision of `grad`."""
    n, k = indices.shape
    width = rows.shape[1]
    out = grad.new_empty(n, k)
    _value_products_kernel[(n, triton.cdiv(k, AT_ONCE))](
        grad.contiguous(),
        indices.contiguous(),
        rows.contiguous(),
        out,
        k,
        width,
        WIDTH=_block(width),
        AT_ONCE=AT_ONCE,
    )
    return out


def row_sums(weights: Float[Tensor, "n k"], selection: Selection, source: Float[Tensor, "n d"]) -> Float[Tensor, "m d"]:
    """For each latent i, Σ over the rows n that keep it of weights[n, i] · source[n], in the precision of `source`."""
    order, rows, bounds = selection.by_latent
    width = source.shape[1]
    out = source.new_empty(selection.n_latents, width)
    block = _block(width)
    _row_sums_kernel[(selection.n_latents, triton.cdiv(width, block))](
        weights.reshape(-1)[order],
        rows.contiguous(),
        bounds,
        source.contiguous(),
        out,
        width,
        WIDTH=block,
        AT_ONCE=AT_ONCE,
    )
    return out


def _block(width: int) -> int:
    return min(WIDEST, triton.next_power_of_2(width))
