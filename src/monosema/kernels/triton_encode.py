"""Encode and keep the k largest of each row on a GPU, in Triton, without writing the n × m pre-activations.

    pre = W (x − b) + c,   codes = ReLU(top-k(pre))

A program takes a block of rows and a share of the latents, and works through the share tile by tile: a product on the
tensor cores, accumulated in float32; then it keeps, of each row, what lies above the row's bar. The bar is 0 at first
(ReLU), and the k-th largest value so far once more than a few have been kept: kept values then shrink to the k largest,
found by bisection of their bits (of numbers ≥ 0, larger ones have larger bits). A row of random numbers passes about
k · ln(latents / k) of them on, so that most tiles cost little more than their product. The k largest of all shares
are the k largest of the row, exactly.

Tested with Triton's interpreter against the dense twin, in float32 and float16 (the interpreter can't multiply bf16).
Its speed was not measured: no GPU was at hand.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

PROGRAMS = 256
"""Programs wanted at least: two for each multiprocessor of a large GPU."""
ROOMY = ((8, 0), (9, 0), (10, 0))
"""Compute capabilities whose multiprocessors have more than 100 KB of shared memory for one program."""
LARGEST_BITS = 31
"""Bits of a float32 without its sign."""


@triton.jit
def _keep_k_largest(
    kept, latents, counts, bars, first, n, k, ROWS: tl.constexpr, ROOM: tl.constexpr, BITS: tl.constexpr
):
    """Shrink the lists of rows first … first + ROWS to their k largest values, and raise their bars accordingly."""
    rows = first + tl.arange(0, ROWS)
    place = tl.arange(0, ROOM)
    here = rows < n
    count = tl.load(counts + rows, mask=here, other=0)
    at = rows.to(tl.int64)[:, None] * ROOM + place[None, :]
    there = here[:, None] & (place[None, :] < count[:, None])
    value = tl.load(kept + at, mask=there, other=0)
    latent = tl.load(latents + at, mask=there, other=0)
    bar = tl.zeros([ROWS], dtype=tl.int32)
    for step in tl.static_range(BITS):
        trial = bar | (1 << (BITS - 1 - step))
        enough = tl.sum((value >= trial[:, None]).to(tl.int32), axis=1) >= k
        bar = tl.where(enough, trial, bar)
    above = there & (value > bar[:, None])
    equal = there & (value == bar[:, None])
    room = k - tl.sum(above.to(tl.int32), axis=1)
    stay = above | (equal & (tl.cumsum(equal.to(tl.int32), axis=1) <= room[:, None]))
    target = tl.cumsum(stay.to(tl.int32), axis=1) - 1
    to = rows.to(tl.int64)[:, None] * ROOM + target
    tl.debug_barrier()
    tl.store(kept + to, value, mask=stay)
    tl.store(latents + to, latent, mask=stay)
    tl.store(counts + rows, tl.minimum(count, k), mask=here)
    tl.store(bars + rows, bar, mask=here)


@triton.jit
def _encode_kernel(
    x,
    encoder,
    bias,
    kept,
    latents,
    counts,
    bars,
    n,
    m,
    d,
    k,
    share,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    DEPTH: tl.constexpr,
    ROOM: tl.constexpr,
    SHRINK: tl.constexpr,
    BITS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program for each block of rows and each share of the latents; its lists lie one after the other."""
    block, part = tl.program_id(0), tl.program_id(1)
    kept += part.to(tl.int64) * n * ROOM
    latents += part.to(tl.int64) * n * ROOM
    counts += part * n
    bars += part * n
    rows = block * ROWS + tl.arange(0, ROWS)
    here = rows < n
    count = tl.zeros([ROWS], dtype=tl.int32)
    bar = tl.zeros([ROWS], dtype=tl.int32)
    for start in range(part * share, tl.minimum((part + 1) * share, m), TILE):
        columns = start + tl.arange(0, TILE)
        exists = columns < tl.minimum((part + 1) * share, m)
        total = tl.zeros([ROWS, TILE], dtype=tl.float32)
        for depth in range(0, d, DEPTH):
            at = depth + tl.arange(0, DEPTH)
            left = tl.load(
                x + rows.to(tl.int64)[:, None] * d + at[None, :], mask=here[:, None] & (at < d)[None, :], other=0.0
            )
            right = tl.load(
                encoder + columns.to(tl.int64)[None, :] * d + at[:, None],
                mask=exists[None, :] & (at < d)[:, None],
                other=0.0,
            )
            total = tl.dot(left, right, acc=total, input_precision=PRECISION)
        total += tl.load(bias + columns, mask=exists, other=0.0).to(tl.float32)[None, :]
        # Without its sign, what isn't a number has larger bits than any number: it is passed on, for all to see.
        value = tl.where(total < 0, 0.0, total).to(tl.int32, bitcast=True) & 0x7FFFFFFF
        passed = (value > bar[:, None]) & here[:, None] & exists[None, :]
        target = count[:, None] + tl.cumsum(passed.to(tl.int32), axis=1) - 1
        to = rows.to(tl.int64)[:, None] * ROOM + target
        tl.store(kept + to, value, mask=passed)
        tl.store(latents + to, tl.broadcast_to(columns[None, :], [ROWS, TILE]), mask=passed)
        count += tl.sum(passed.to(tl.int32), axis=1)
        if tl.max(count) > ROOM - TILE:
            tl.store(counts + rows, count, mask=here)
            tl.debug_barrier()
            for few in range(0, ROWS, SHRINK):
                _keep_k_largest(kept, latents, counts, bars, block * ROWS + few, n, k, SHRINK, ROOM, BITS)
            tl.debug_barrier()
            count = tl.load(counts + rows, mask=here, other=0)
            bar = tl.load(bars + rows, mask=here, other=0)
    tl.store(counts + rows, count, mask=here)
    tl.debug_barrier()
    for few in range(0, ROWS, SHRINK):
        _keep_k_largest(kept, latents, counts, bars, block * ROWS + few, n, k, SHRINK, ROOM, BITS)


def encode_top_k(
    x: Float[Tensor, "n d_in"],
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    k: int,
    matmul_dtype: torch.dtype | None = None,
    *,
    rows: int = 128,
    tile: int = 128,
    depth: int | None = None,
    shares: int | None = None,
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest pre-activations of each row, through ReLU, with the latents they belong to; in no order.

    Memory besides the result: for each row and share, a list of k + 2 tiles at least, 8 bytes a place; it does not
    depend on the number of latents. A list is read at once when it shrinks, so k should be a few hundred at most.

    Args:
        x: inputs, already centred.
        encoder: one row per latent.
        matmul_dtype: precision that both are rounded to; None keeps that of `x`. Sums and bias are float32 in any case.
        rows, tile, depth: rows, latents and columns that a program multiplies at once, powers of two of at least 16.
        shares: parts that the latents are divided into; None makes programs enough to fill a GPU.

    Returns:
        values in the precision of `x`, indices as int64. Where fewer than k values are above 0, the rest are 0, at
        latents that mean nothing.
    """
    dtype = matmul_dtype or x.dtype
    n, d = x.shape
    m = len(encoder)
    blocks = triton.cdiv(n, rows)
    shares = shares or max(1, min(triton.cdiv(PROGRAMS, blocks), triton.cdiv(m, 32 * tile)))
    share = triton.cdiv(triton.cdiv(m, shares), tile) * tile
    shares = triton.cdiv(m, share)
    room = triton.next_power_of_2(k + 2 * tile)
    kept = torch.empty(shares, n, room, dtype=torch.int32, device=x.device)
    latents = torch.empty_like(kept)
    counts = torch.empty(shares, n, dtype=torch.int32, device=x.device)
    _encode_kernel[(blocks, shares)](
        x.to(dtype).contiguous(),
        encoder.to(dtype).contiguous(),
        bias,
        kept,
        latents,
        counts,
        torch.empty_like(counts),
        n,
        m,
        d,
        k,
        share,
        ROWS=rows,
        TILE=tile,
        DEPTH=depth or 128 // dtype.itemsize,
        ROOM=room,
        SHRINK=16,
        BITS=LARGEST_BITS,
        PRECISION="ieee",
        num_warps=8,
        num_stages=_stages(x.device),
    )
    return _join(kept[:, :, :k], latents[:, :, :k], counts, k, m, x.dtype)


def _stages(device: torch.device) -> int:
    """Blocks that are on their way to the tensor cores at once: as many as the memory of a multiprocessor holds."""
    if device.type != "cuda":
        return 1
    return 3 if torch.cuda.get_device_capability(device) in ROOMY else 2


def _join(
    kept: Int[Tensor, "shares n k"],
    latents: Int[Tensor, "shares n k"],
    counts: Int[Tensor, "shares n"],
    k: int,
    m: int,
    dtype: torch.dtype,
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest of all shares' lists; places that no list fills get value 0, at latents spread over all."""
    shares, n = counts.shape
    places = torch.arange(k, device=kept.device)
    filled = places < counts.unsqueeze(2)
    bits = torch.where(filled, kept, 0).permute(1, 0, 2).reshape(n, shares * k)
    spread = (torch.arange(n, device=kept.device).unsqueeze(1) * k + places) % m
    columns = torch.where(filled, latents, spread).permute(1, 0, 2).reshape(n, shares * k)
    if shares > 1:
        bits, chosen = bits.topk(k, dim=1, sorted=False)
        columns = columns.gather(1, chosen)
    return bits.contiguous().view(torch.float32).to(dtype), columns.to(torch.int64)
