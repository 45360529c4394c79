"""The kernels as differentiable functions, so that an architecture writes plain loss terms."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.kernels.encode import encode_top_k
from monosema.kernels.selection import Selection
from monosema.kernels.sharing import kept_of_rows, own_centre, summed_over_latents
from monosema.kernels.sparse import row_sums, sparse_decode, value_products


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, centre: Tensor | None, encoder: Tensor, bias: Tensor, k: int, matmul_dtype: Any
    ) -> Any:
        centred = x if centre is None else x - centre
        values, indices = encode_top_k(centred, encoder, bias, k, matmul_dtype)
        selection = Selection(indices, len(encoder))
        ctx.save_for_backward(centred, encoder, values)
        ctx.selection = selection
        ctx.mark_non_differentiable(indices)
        return values, indices, selection

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> Any:
        centred, encoder, values = ctx.saved_tensors
        selection = ctx.selection
        grad = torch.where(values > 0, grad, 0)
        of_encoder = row_sums(grad, selection, centred) if ctx.needs_input_grad[2] else None
        of_bias = encoder.new_zeros(len(encoder)).index_add_(0, selection.indices.reshape(-1), grad.reshape(-1))
        of_centre = -(of_bias @ encoder) if ctx.needs_input_grad[1] else None
        of_x = sparse_decode(grad, selection.indices, encoder) if ctx.needs_input_grad[0] else None
        return of_x, of_centre, of_encoder, of_bias, None, None


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, selection: Selection, decoder: Tensor) -> Tensor:
        ctx.save_for_backward(values, decoder)
        ctx.selection = selection
        return sparse_decode(values, selection.indices, decoder)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        values, decoder = ctx.saved_tensors
        grad = grad.contiguous()
        of_values = value_products(grad, ctx.selection.indices, decoder) if ctx.needs_input_grad[0] else None
        of_decoder = row_sums(values, ctx.selection, grad) if ctx.needs_input_grad[2] else None
        return of_values, None, of_decoder


def encode_codes(
    x: Float[Tensor, "n d_in"],
    centre: Float[Tensor, " d_in"] | None,
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    k: int,
    matmul_dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, "n k"], Selection]:
    """Differentiable ReLU(top-k(encoder · (x − centre) + bias)): values, and which latents they belong to.

    Gradients flow to `x`, `centre`, `encoder` and `bias` through the values that are above 0. Where processes share the
    latents (`sharing`), values that aren't among the k largest of all shards are 0.
    """
    if len(encoder) == 0:
        nothing = x.new_zeros(len(x), 0)
        return kept_of_rows(nothing, k), Selection(nothing.to(torch.int64), 0)
    values, _, selection = _Encode.apply(x, own_centre(centre), encoder, bias, min(k, len(encoder)), matmul_dtype)
    return kept_of_rows(values, k), selection


def decode_codes(
    values: Float[Tensor, "n k"], selection: Selection, decoder: Float[Tensor, "m d_out"]
) -> Float[Tensor, "n d_out"]:
    """Differentiable sparse decode: Σ_j values[:, j] · decoder[indices[:, j]]."""
    return summed_over_latents(_Decode.apply(values, selection, decoder))
