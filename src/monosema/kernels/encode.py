"""Encode and keep the k largest pre-activations of each row, without ever holding all of them.

    pre = W (x − b) + c,   codes = ReLU(top-k(pre))

The product runs over blocks of rows, so that pre-activations stay in the processor's cache, and in bf16 where that is
asked for. The choice of the k largest is exact, also among bf16 values. In 8-bit integers the product names candidates
only, of which float32 decides (`screening`). On a GPU one kernel does both, `triton_encode`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.kernels.gpu import on_gpu
from monosema.kernels.ragged import ragged_value_products
from monosema.kernels.screening import (
    SELECTIVE,
    candidates_of_rows,
    evenly_spaced,
    is_no_help,
    largest_entries,
    may_screen,
    precision,
    rounded,
    sampled_pre_activations,
)
from monosema.kernels.selection import top_k, top_k_dense

BLOCK_BYTES = 24 * 2**20
"""Size of the block of pre-activations that is worked on at once: measured best where it fits the last-level cache."""
GPU_BLOCK_BYTES = 2**29
"""Rows at once on a GPU, where no fused kernel serves: bounds its memory."""
FEW_ROWS = 32
"""Rows up to which the bias is added by itself: a copy beside the encoder costs as much as their product."""
FUSED_K = 256
"""Largest k that the fused GPU kernel is used for."""


def encode_top_k_dense(
    x: Float[Tensor, "n d_in"], encoder: Float[Tensor, "m d_in"], bias: Float[Tensor, " m"], k: int
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The readable twin of `encode_top_k`: the whole n × m matrix in the precision of the inputs."""
    return top_k_dense(x @ encoder.T + bias, k)


def encode_top_k(
    x: Float[Tensor, "n d_in"],
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    k: int,
    matmul_dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest pre-activations of each row, through ReLU, with the latents they belong to; in no order.

    Args:
        x: inputs, already centred.
        encoder: one row per latent.
        matmul_dtype: precision of the matrix product; None keeps that of `x`. torch.int8 screens.

    Returns:
        values in the precision of `x`, indices as int64. A latent that ReLU silences stays in the list with value 0.
    """
    if matmul_dtype == torch.int8:
        screened = _screened_top_k(x, encoder, bias, k)
        if screened is not None:
            return screened
    if on_gpu(x, encoder, bias) and 0 < k <= FUSED_K and len(x):
        from monosema.kernels.triton_encode import encode_top_k as fused

        return fused(x, encoder, bias, k, precision(matmul_dtype, x))
    dtype = precision(matmul_dtype, x)
    if len(x) <= FEW_ROWS and dtype == encoder.dtype:
        return top_k(torch.addmm(bias, x, encoder.T), k)
    weight, rows = with_bias(encoder, bias, dtype), with_ones(x, dtype)
    n, m = len(x), len(encoder)
    block_bytes = BLOCK_BYTES if x.device.type == "cpu" else GPU_BLOCK_BYTES
    step = max(1, block_bytes // (m * weight.element_size()))
    block = torch.empty(min(step, n), m, dtype=dtype, device=x.device)
    values = torch.empty(n, k, dtype=x.dtype, device=x.device)
    indices = torch.empty(n, k, dtype=torch.int64, device=x.device)
    for start in range(0, n, step):
        stop = min(start + step, n)
        pre = torch.mm(rows[start:stop], weight.T, out=block[: stop - start])
        values[start:stop], indices[start:stop] = top_k(pre, k)
    return values, indices


def _screened_top_k(x: Tensor, encoder: Tensor, bias: Tensor, k: int) -> tuple[Tensor, Tensor] | None:
    """`encode_top_k` among candidates; None where screening is no help."""
    if not may_screen(x) or k * SELECTIVE > len(encoder):
        return None
    pre = sampled_pre_activations(x, encoder, bias)
    values, indices = pre.topk(k, dim=1)
    wanted = torch.zeros_like(pre, dtype=torch.bool).scatter_(1, indices, values > 0)
    whole = rounded(x, encoder, bias)
    if whole is None or is_no_help(wanted, candidates_of_rows(whole.some(evenly_spaced(len(x))), k)):
        return None
    active = candidates_of_rows(whole, k)
    values, indices = largest_entries(ragged_value_products(x, active, encoder).add_(active.spread(bias)), active, k)
    return values.relu_(), indices


def with_bias(
    encoder: Float[Tensor, "m d_in"], bias: Float[Tensor, " m"], dtype: torch.dtype
) -> Float[Tensor, "m columns"]:
    """Encoder and bias side by side, so that the product adds the bias at no cost of its own.

    In 16 bits the bias takes two columns, its rounded value and the rest, so that it loses nothing.
    """
    m, d = encoder.shape
    rounded = bias.to(dtype)
    columns = 1 if dtype == bias.dtype else 2
    out = torch.empty(m, d + columns, dtype=dtype, device=encoder.device)
    out[:, :d] = encoder
    out[:, d] = rounded
    if columns == 2:
        out[:, d + 1] = bias - rounded
    return out


def with_ones(x: Float[Tensor, "n d_in"], dtype: torch.dtype) -> Float[Tensor, "n columns"]:
    """Inputs with the ones that `with_bias` multiplies the bias by."""
    n, d = x.shape
    out = torch.ones(n, d + (1 if dtype == x.dtype else 2), dtype=dtype, device=x.device)
    out[:, :d] = x
    return out
