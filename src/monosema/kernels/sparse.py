"""Products with sparse codes: decode, and the gradients of values and of both matrices.

Tensors on a GPU go to the kernels in `triton_sparse`, where Triton is installed; PyTorch's own operations serve
everywhere else.
"""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.kernels.gpu import on_gpu
from monosema.kernels.selection import Selection

GATHER_BYTES = 4 * 2**20
"""Size of the block of gathered rows that is worked on at once."""


def to_dense(values: Float[Tensor, "n k"], indices: Int[Tensor, "n k"], n_latents: int) -> Float[Tensor, "n n_latents"]:
    """The n × n_latents matrix of codes; values of a latent that occurs twice in a row are summed."""
    return values.new_zeros(len(values), n_latents).scatter_add_(1, indices, values)


def decode_dense(
    values: Float[Tensor, "n k"], indices: Int[Tensor, "n k"], rows: Float[Tensor, "m d_out"]
) -> Float[Tensor, "n d_out"]:
    """The readable twin of `sparse_decode`."""
    return to_dense(values, indices, len(rows)) @ rows


def sparse_decode(
    values: Float[Tensor, "n k"], indices: Int[Tensor, "n k"], rows: Float[Tensor, "m d_out"]
) -> Float[Tensor, "n d_out"]:
    """Σ_j values[:, j] · rows[indices[:, j]], touching only the rows that are named."""
    if values.numel() == 0:
        return values.new_zeros(len(values), rows.shape[1])
    if on_gpu(values, rows):
        from monosema.kernels.triton_sparse import sparse_decode as on_device

        return on_device(values, indices, rows)
    return torch.nn.functional.embedding_bag(indices, rows, per_sample_weights=values, mode="sum")


def value_products_dense(
    grad: Float[Tensor, "n d_out"], indices: Int[Tensor, "n k"], rows: Float[Tensor, "m d_out"]
) -> Float[Tensor, "n k"]:
    """The readable twin of `value_products`."""
    return (grad @ rows.T).gather(1, indices)


def value_products(
    grad: Float[Tensor, "n d_out"], indices: Int[Tensor, "n k"], rows: Float[Tensor, "m d_out"]
) -> Float[Tensor, "n k"]:
    """⟨grad[n], rows[indices[n, j]]⟩: the gradient of the values of a sparse decode."""
    n, k = indices.shape
    if indices.numel() and on_gpu(grad, rows):
        from monosema.kernels.triton_sparse import value_products as on_device

        return on_device(grad, indices, rows)
    if grad.device.type == "cpu" and grad.dtype == rows.dtype == torch.float32 and indices.numel():
        return _sampled_products(grad, indices, rows)
    out = grad.new_empty(n, k)
    step = max(1, GATHER_BYTES // max(1, k * rows.shape[1] * rows.element_size()))
    for start in range(0, n, step):
        block = slice(start, start + step)
        gathered = rows.index_select(0, indices[block].reshape(-1)).view(-1, k, rows.shape[1])
        out[block] = torch.bmm(gathered, grad[block].unsqueeze(2)).squeeze(2)
    return out


def _sampled_products(grad: Tensor, indices: Tensor, rows: Tensor) -> Tensor:
    """`value_products` as a sampled dense product, which reads each named row once and writes nothing in between."""
    n, k = indices.shape
    starts = torch.arange(0, n * k + 1, k)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(
            starts, indices.reshape(-1), grad.new_zeros(n * k), (n, len(rows)), check_invariants=False
        )
        return torch.sparse.sampled_addmm(pattern, grad, rows.T, beta=0.0).values().view(n, k)


def row_sums_dense(
    weights: Float[Tensor, "n k"], selection: Selection, source: Float[Tensor, "n d"]
) -> Float[Tensor, "m d"]:
    """The readable twin of `row_sums`."""
    return to_dense(weights, selection.indices, selection.n_latents).T @ source


def row_sums(weights: Float[Tensor, "n k"], selection: Selection, source: Float[Tensor, "n d"]) -> Float[Tensor, "m d"]:
    """For each latent i, Σ over the rows n that keep it of weights[n, i] · source[n].

    The gradient of the decoder (weights: values, source: gradient of the output) and of the encoder (weights:
    gradient of the values, source: the input), as sums over runs of pairs sorted by latent.
    """
    if weights.numel() == 0:
        return source.new_zeros(selection.n_latents, source.shape[1])
    if on_gpu(weights, source):
        from monosema.kernels.triton_sparse import row_sums as on_device

        return on_device(weights, selection, source)
    order, rows, bounds = selection.by_latent
    return torch.nn.functional.embedding_bag(
        rows, source, bounds[:-1], per_sample_weights=weights.reshape(-1)[order], mode="sum"
    )
