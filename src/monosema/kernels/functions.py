"""The kernels as differentiable functions, so that an activation writes plain loss terms.

What an activation computes on entries it writes once: on a matrix of n × k values where each row keeps k latents
(`Selection`), on a vector of entries where few latents are active (`Ragged`), or on the whole matrix (`Full`) where so
many are that sparse products no longer pay, as in the first steps of training with an L1 penalty. Between the last two
`encode_active` decides, by the density that it measures on a few rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from monosema.kernels.encode import encode_top_k, with_bias, with_ones
from monosema.kernels.ragged import Ragged, ragged_decode, ragged_row_sums, ragged_value_products
from monosema.kernels.ragged_encode import encode_above, encode_batch_top_k
from monosema.kernels.screening import precision, sampled_pre_activations
from monosema.kernels.selection import Selection
from monosema.kernels.sharing import Grid, kept_of_rows, own_centre, summed_over_latents
from monosema.kernels.sparse import row_sums, sparse_decode, value_products

DENSE = 1 / 16
"""Share of active entries from which dense products are taken: sparse ones win well below it."""
DENSE_BF16 = 1 / 32
"""Threshold where products run in bf16, which makes dense ones faster and leaves sparse ones as they are."""


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
        """Broadcast a per-latent vector to the entries: the vector itself."""
        return of_latent

    def dense(self, values: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        """The matrix of values."""
        return values


Active = Selection | Ragged | Full
"""Latents that the values of codes belong to."""


class _EncodeTopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, centre: Any, encoder: Tensor, bias: Tensor, k: int, matmul_dtype: Any) -> Any:
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
        of_bias = of_centre = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[3]:
            of_bias = encoder.new_zeros(len(encoder)).index_add_(0, selection.indices.reshape(-1), grad.reshape(-1))
            of_centre = -(of_bias @ encoder) if ctx.needs_input_grad[1] else None
        of_x = sparse_decode(grad, selection.indices, encoder) if ctx.needs_input_grad[0] else None
        return of_x, of_centre, of_encoder, of_bias, None, None


class _Encode(torch.autograd.Function):
    """Ragged codes chosen by `choose`; gradients reach the entries that were chosen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, centre: Any, encoder: Tensor, bias: Tensor, choose: Callable[..., Any]) -> Any:
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


class _EncodeAll(torch.autograd.Function):
    """All pre-activations; every product in the precision that is asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, centre: Any, encoder: Tensor, bias: Tensor, matmul_dtype: Any) -> Tensor:
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


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, active: Active, decoder: Tensor) -> Tensor:
        ctx.save_for_backward(values, decoder)
        ctx.active = active
        if isinstance(active, Selection):
            return sparse_decode(values, active.indices, decoder)
        if isinstance(active, Ragged):
            return ragged_decode(values, active, decoder)
        return _times(values, decoder, active.matmul_dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (values, decoder), active = ctx.saved_tensors, ctx.active
        of_values = of_decoder = None
        if isinstance(active, Full):
            of_values = _times(grad, decoder.T, active.matmul_dtype) if ctx.needs_input_grad[0] else None
            of_decoder = _times(values.T, grad, active.matmul_dtype) if ctx.needs_input_grad[2] else None
            return of_values, None, of_decoder
        grad = grad.contiguous()
        if isinstance(active, Selection):
            of_values = value_products(grad, active.indices, decoder) if ctx.needs_input_grad[0] else None
            of_decoder = row_sums(values, active, grad) if ctx.needs_input_grad[2] else None
        else:
            of_values = ragged_value_products(grad, active, decoder) if ctx.needs_input_grad[0] else None
            of_decoder = ragged_row_sums(values, active, grad) if ctx.needs_input_grad[2] else None
        return of_values, None, of_decoder


def _times(a: Tensor, b: Tensor, matmul_dtype: torch.dtype | None) -> Tensor:
    return (a.to(matmul_dtype or a.dtype) @ b.to(matmul_dtype or b.dtype)).to(a.dtype)


def encode_codes(
    x: Float[Tensor, "n d_in"],
    centre: Float[Tensor, " d_in"] | None,
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    k: int,
    matmul_dtype: torch.dtype | None = None,
    grid: Grid | None = None,
) -> tuple[Float[Tensor, "n k"], Selection]:
    """Compute ReLU(top-k(encoder · (x − centre) + bias)): values, and which latents they belong to.

    Gradients flow to `x`, `centre`, `encoder` and `bias` through the values that are above 0.

    Args:
        centre: None takes nothing from the input.
        grid: processes that share the latents: values that aren't among the k largest of all shards are 0.
    """
    if len(encoder) == 0:
        nothing = x.new_zeros(len(x), 0)
        return kept_of_rows(nothing, k, grid), Selection(nothing.to(torch.int64), 0)
    values, _, selection = _EncodeTopK.apply(
        x, own_centre(centre, grid), encoder, bias, min(k, len(encoder)), matmul_dtype
    )
    return kept_of_rows(values, k, grid), selection


def encode_active(
    x: Float[Tensor, "n d_in"],
    centre: Float[Tensor, " d_in"] | None,
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    floor: Float[Tensor, " m"] | None = None,
    matmul_dtype: torch.dtype | None = None,
    grid: Grid | None = None,
) -> tuple[Shaped[Tensor, "..."], Ragged | Full]:
    """Compute pre-activations encoder · (x − centre) + bias of, at least, the entries above the floor.

    Gradients flow to `x`, `centre`, `encoder` and `bias`; none to `floor`, which only says what may be left out.

    Args:
        floor: one for each latent; None is 0 for all.

    Returns:
        A vector of the entries above the floor, with a Ragged; or the whole matrix, the entries below included, with a
        Full. What is computed of them must be 0 below the floor.
    """
    centre = own_centre(centre, grid)
    with torch.no_grad():
        rows = x if centre is None else x - centre
        sample = sampled_pre_activations(rows, encoder, bias if floor is None else bias - floor, matmul_dtype)
        density = float((sample > 0).float().mean()) if sample.numel() else 0.0
    whole = precision(matmul_dtype, x)
    if density >= (DENSE if whole == x.dtype else DENSE_BF16):
        return _EncodeAll.apply(x, centre, encoder, bias, whole), Full(len(x), len(encoder), whole)
    return encode_entries(x, centre, encoder, bias, floor, matmul_dtype)


def encode_entries(
    x: Float[Tensor, "n d_in"],
    centre: Float[Tensor, " d_in"] | None,
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    floor: Float[Tensor, " m"] | None = None,
    matmul_dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, " entries"], Ragged]:
    """Compute exactly the pre-activations above the floor, as `encode_above`. Gradients as for `encode_active`."""
    choose = partial(encode_above, floor=floor, matmul_dtype=matmul_dtype)
    values, active = _Encode.apply(x, centre, encoder, bias, choose)
    return values, active


def encode_batch(
    x: Float[Tensor, "n d_in"],
    centre: Float[Tensor, " d_in"] | None,
    encoder: Float[Tensor, "m d_in"],
    bias: Float[Tensor, " m"],
    k: int,
    matmul_dtype: torch.dtype | None = None,
    grid: Grid | None = None,
    mean_rows: float | None = None,
) -> tuple[Float[Tensor, " entries"], Ragged]:
    """Compute codes of a batch: its n · k largest positive pre-activations. Gradients as for `encode_active`."""
    choose = partial(encode_batch_top_k, k=k, matmul_dtype=matmul_dtype, grid=grid, mean_rows=mean_rows)
    values, active = _Encode.apply(x, own_centre(centre, grid), encoder, bias, choose)
    return values, active


def decode_active(
    values: Shaped[Tensor, "..."], active: Active, decoder: Float[Tensor, "m d_out"], grid: Grid | None = None
) -> Float[Tensor, "n d_out"]:
    """Compute Σ value · decoder[latent] of each row, over all shards of the latents; differentiable."""
    return summed_over_latents(_Decode.apply(values, active, decoder), grid)
