"""Encode and keep the k largest pre-activations of each row, without ever holding all of them.

    pre = W (x − b) + c,   codes = ReLU(top-k(pre))

The product runs over blocks of rows, so that pre-activations stay in the processor's cache, and in bf16 where that is
asked for. The choice of the k largest is exact, also among bf16 values.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.kernels.selection import top_k

__all__ = ["encode_top_k", "encode_top_k_dense"]

BLOCK_BYTES = 8 * 2**20
"""Size of the block of pre-activations that is worked on at once: measured best where it fits the last-level cache."""


def encode_top_k_dense(
    x: Float[Tensor, "n d_in"], encoder: Float[Tensor, "m d_in"], bias: Float[Tensor, " m"], k: int
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The readable twin of `encode_top_k`: the whole n × m matrix in the precision of the inputs."""
    values, indices = (x @ encoder.T + bias).topk(k, dim=1)
    return values.relu(), indices


def encode_top_k(
    x: Float[Tensor, "n d_in"],
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    k: int,
    product: torch.dtype | None = None,
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest pre-activations of each row, through ReLU, with the latents they belong to; in no order.

    Args:
        x: inputs, already centred.
        encoder: one row per latent.
        product: precision of the matrix product; None keeps that of `x`.

    Returns:
        values in the precision of `x`, indices as int64. A latent that ReLU silences stays in the list with value 0.
    """
    dtype = product or x.dtype
    weight, offset, rows = encoder.to(dtype), bias.to(dtype), x.to(dtype)
    n, m = len(x), len(encoder)
    step = max(1, BLOCK_BYTES // (m * weight.element_size())) if x.device.type == "cpu" else max(1, n)
    values = torch.empty(n, k, dtype=x.dtype, device=x.device)
    indices = torch.empty(n, k, dtype=torch.int64, device=x.device)
    for start in range(0, n, step):
        block = slice(start, start + step)
        largest, where = top_k(torch.nn.functional.linear(rows[block], weight, offset), k)
        values[block].copy_(largest).relu_()
        indices[block] = where
    return values, indices
