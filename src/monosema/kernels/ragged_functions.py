"""Codes with any number of active latents, as differentiable functions.

What an architecture computes on entries it writes once, on a vector of entries (`Ragged`) where few latents are active,
or on the whole matrix (`Full`) where so many are that sparse products no longer pay, as in the first steps of training
with an L1 penalty. Which of the two, `encode_active` decides by the density that it measures on a few rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from monosema.kernels.encode import with_bias, with_ones
from monosema.kernels.ragged import Ragged, ragged_decode, ragged_row_sums, ragged_value_products
from monosema.kernels.ragged_encode import encode_above, encode_batch_top_k
from monosema.kernels.screening import precision, sampled_pre_activations
from monosema.kernels.sharing import own_centre, summed_over_latents

DENSE = 1 / 16
"""Share of active entries from which dense products are taken: sparse ones win well below it."""
DENSE_BF16 = 1 / 32
"""The same where products run in bf16, which makes dense ones faster and leaves sparse ones as they are."""


class Full:
    """Every latent on every row: values are a whole matrix.

    Attributes:
        n_rows: number of rows.
        n_latents: number of latents.
        matmul_dtype: precision of products; None keeps that of the values.
    """

    def __init__(self, n_rows: int, n_latents: int, matmul_dtype: torch.dtype | None = None) -> None:
        self.n_rows, self.n_latents, self.matmul_dtype = n_rows, n_latents, matmul_dtype

    def __len__(self) -> int:
        """Number of rows."""
        return self.n_rows

    def spread(self, of_latent: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """For each entry, what a vector says of its latent: the vector itself, which broadcasts over rows."""
        return of_latent

    def dense(self, values: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        """The matrix of values."""
        return values


class _Encode(torch.autograd.Function):
    """Ragged codes chosen by `choose`; gradients reach the entries that were chosen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, centre: Tensor | None, encoder: Tensor, bias: Tensor, choose: Callable[..., Any]
    ) -> Any:
        centred = x if centre is None else x - centre
        values, active = choose(centred, encoder, bias)
        ctx.save_for_backward(centred, encoder)
        ctx.active = active
        return values, active

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> Any:
        centred, encoder = ctx.saved_tensors
        of_encoder = ragged_row_sums(grad, ctx.active, centred) if ctx.needs_input_grad[2] else None
        of_bias = grad.new_zeros(len(encoder)).index_add_(0, ctx.active.latents, grad)
        of_centre = -(of_bias @ encoder) if ctx.needs_input_grad[1] else None
        of_x = ragged_decode(grad, ctx.active, encoder) if ctx.needs_input_grad[0] else None
        return of_x, of_centre, of_encoder, of_bias, None


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, active: Ragged, decoder: Tensor) -> Tensor:
        ctx.save_for_backward(values, decoder)
        ctx.active = active
        return ragged_decode(values, active, decoder)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        values, decoder = ctx.saved_tensors
        grad = grad.contiguous()
        of_values = ragged_value_products(grad, ctx.active, decoder) if ctx.needs_input_grad[0] else None
        of_decoder = ragged_row_sums(values, ctx.active, grad) if ctx.needs_input_grad[2] else None
        return of_values, None, of_decoder


class _EncodeAll(torch.autograd.Function):
    """All pre-activations; every product in the precision that is asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, centre: Tensor | None, encoder: Tensor, bias: Tensor, matmul_dtype: Any) -> Tensor:
        centred = x if centre is None else x - centre
        ctx.save_for_backward(centred, encoder)
        ctx.matmul_dtype = matmul_dtype
        dtype = matmul_dtype or x.dtype
        return (with_ones(centred, dtype) @ with_bias(encoder, bias, dtype).T).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        centred, encoder = ctx.saved_tensors
        of_bias = grad.sum(dim=0)
        of_centre = -(of_bias @ encoder) if ctx.needs_input_grad[1] else None
        of_x = _times(grad, encoder, ctx.matmul_dtype) if ctx.needs_input_grad[0] else None
        of_encoder = _times(grad.T, centred, ctx.matmul_dtype) if ctx.needs_input_grad[2] else None
        return of_x, of_centre, of_encoder, of_bias, None


class _DecodeAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, decoder: Tensor, matmul_dtype: Any) -> Tensor:
        ctx.save_for_backward(values, decoder)
        ctx.matmul_dtype = matmul_dtype
        return _times(values, decoder, matmul_dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        values, decoder = ctx.saved_tensors
        of_values = _times(grad, decoder.T, ctx.matmul_dtype) if ctx.needs_input_grad[0] else None
        of_decoder = _times(values.T, grad, ctx.matmul_dtype) if ctx.needs_input_grad[1] else None
        return of_values, of_decoder, None


def _times(a: Tensor, b: Tensor, matmul_dtype: torch.dtype | None) -> Tensor:
    return (a.to(matmul_dtype or a.dtype) @ b.to(matmul_dtype or b.dtype)).to(a.dtype)


def encode_active(
    x: Float[Tensor, "n d_in"],
    centre: Float[Tensor, " d_in"],
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    floor: Float[Tensor, " m"] | None = None,
    matmul_dtype: torch.dtype | None = None,
) -> tuple[Shaped[Tensor, "..."], Ragged | Full]:
    """Differentiable pre-activations encoder · (x − centre) + bias of, at least, the entries above the floor.

    Gradients flow to `x`, `centre`, `encoder` and `bias`; none to `floor`, which only says what may be left out.

    Args:
        floor: one for each latent; None is 0 for all.

    Returns:
        A vector of the entries above the floor, with a Ragged; or the whole matrix, the entries below included, with a
        Full. What is computed of them must be 0 below the floor.
    """
    centre = own_centre(centre)
    with torch.no_grad():
        sample = sampled_pre_activations(x - centre, encoder, bias if floor is None else bias - floor, matmul_dtype)
        density = float((sample > 0).float().mean()) if sample.numel() else 0.0
    whole = precision(matmul_dtype, x)
    if density >= (DENSE if whole == x.dtype else DENSE_BF16):
        return _EncodeAll.apply(x, centre, encoder, bias, whole), Full(len(x), len(encoder), whole)
    choose = partial(encode_above, floor=floor, matmul_dtype=matmul_dtype)
    values, active = _Encode.apply(x, centre, encoder, bias, choose)
    return values, active


def encode_entries(
    x: Float[Tensor, "n d_in"],
    centre: Float[Tensor, " d_in"] | None,
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    floor: Float[Tensor, " m"] | None = None,
    matmul_dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, " entries"], Ragged]:
    """Differentiable `encode_above`: pre-activations of the entries above the floor. Gradients as for `encode_active`,
    but that `centre` may be None."""
    choose = partial(encode_above, floor=floor, matmul_dtype=matmul_dtype)
    values, active = _Encode.apply(x, own_centre(centre), encoder, bias, choose)
    return values, active


def encode_batch(
    x: Float[Tensor, "n d_in"],
    centre: Float[Tensor, " d_in"],
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    k: int,
    matmul_dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, " entries"], Ragged]:
    """Differentiable codes of a batch: its n · k largest positive pre-activations. Gradients as for `encode_active`."""
    values, active = _Encode.apply(
        x, own_centre(centre), encoder, bias, partial(encode_batch_top_k, k=k, matmul_dtype=matmul_dtype)
    )
    return values, active


def decode_active(
    values: Shaped[Tensor, "..."], active: Ragged | Full, decoder: Float[Tensor, "m d_out"]
) -> Float[Tensor, "n d_out"]:
    """Differentiable Σ value · decoder[latent] of each row."""
    if isinstance(active, Full):
        return summed_over_latents(_DecodeAll.apply(values, decoder, active.matmul_dtype))
    return summed_over_latents(_Decode.apply(values, active, decoder))
