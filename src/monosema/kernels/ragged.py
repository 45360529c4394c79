"""Codes with any number of active latents on a row, and products with them: decode, and the gradients of all parts.

The active latents of all rows stand one after the other, as in a compressed sparse matrix: those of row r, in rising
order, are `latents[starts[r]:starts[r + 1]]`, and a vector of as many values goes with them.
"""

from __future__ import annotations

import warnings
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

GATHER_BYTES = 4 * 2**20
"""Size of the block of gathered rows that is worked on at once."""


class Ragged:
    """Active latents of each row.

    Attributes:
        latents: the latent of each entry, row by row.
        starts: where each row's entries start, and the end.
        n_latents: number of latents there are.
    """

    def __init__(self, latents: Int[Tensor, " entries"], starts: Int[Tensor, " n_plus_1"], n_latents: int) -> None:
        self.latents = latents
        self.starts = starts
        self.n_latents = n_latents

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    @cached_property
    def rows(self) -> Int[Tensor, " entries"]:
        """The row of each entry."""
        numbers = torch.arange(len(self), device=self.starts.device)
        return numbers.repeat_interleave(self.starts.diff(), output_size=len(self.latents))

    @cached_property
    def by_latent(self) -> tuple[Int[Tensor, " entries"], Int[Tensor, " entries"], Int[Tensor, " m_plus_1"]]:
        """All entries sorted by latent: their places, their rows, and where each latent's run starts, with the end."""
        small = torch.int16 if self.n_latents <= 2**15 else torch.int32
        order = self.latents.to(small).argsort(stable=True)
        bounds = torch.zeros(self.n_latents + 1, dtype=torch.int64, device=self.latents.device)
        torch.cumsum(torch.bincount(self.latents, minlength=self.n_latents), 0, out=bounds[1:])
        return order, self.rows[order], bounds

    def keep(self, kept: Tensor) -> Ragged:
        """Only the entries where a boolean vector is true."""
        before = torch.zeros(len(kept) + 1, dtype=torch.int64, device=kept.device)
        torch.cumsum(kept, 0, out=before[1:])
        return Ragged(self.latents[kept], before[self.starts], self.n_latents)

    def spread(self, of_latent: Float[Tensor, " m"]) -> Float[Tensor, " entries"]:
        """For each entry, what a vector says of its latent; differentiable."""
        return of_latent.index_select(0, self.latents)

    def dense(self, values: Float[Tensor, " entries"]) -> Float[Tensor, "n m"]:
        """The matrix of values, 0 where a latent is not active."""
        out = values.new_zeros(len(self), self.n_latents)
        return out.index_put_((self.rows, self.latents), values)


def ragged_decode_dense(
    values: Float[Tensor, " entries"], active: Ragged, rows: Float[Tensor, "m d"]
) -> Float[Tensor, "n d"]:
    """The readable twin of `ragged_decode`."""
    return active.dense(values) @ rows


def ragged_decode(
    values: Float[Tensor, " entries"], active: Ragged, rows: Float[Tensor, "m d"]
) -> Float[Tensor, "n d"]:
    """For each row, Σ over its entries of value · rows[latent]."""
    if len(values) == 0:
        return values.new_zeros(len(active), rows.shape[1])
    return torch.nn.functional.embedding_bag(
        active.latents, rows, active.starts[:-1], per_sample_weights=values, mode="sum"
    )


def ragged_value_products_dense(
    grad: Float[Tensor, "n d"], active: Ragged, rows: Float[Tensor, "m d"]
) -> Float[Tensor, " entries"]:
    """The readable twin of `ragged_value_products`."""
    return (grad @ rows.T)[active.rows, active.latents]


def ragged_value_products(
    grad: Float[Tensor, "n d"], active: Ragged, rows: Float[Tensor, "m d"]
) -> Float[Tensor, " entries"]:
    """⟨grad[row], rows[latent]⟩ of each entry: the gradient of the values of a decode."""
    if grad.device.type == "cpu" and grad.dtype == rows.dtype == torch.float32 and len(active.latents):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            pattern = torch.sparse_csr_tensor(
                active.starts,
                active.latents,
                grad.new_zeros(len(active.latents)),
                (len(active), len(rows)),
                check_invariants=False,
            )
            return torch.sparse.sampled_addmm(pattern, grad, rows.T, beta=0.0).values()
    out = grad.new_empty(len(active.latents))
    step = max(1, GATHER_BYTES // max(1, rows.shape[1] * rows.element_size()))
    for start in range(0, len(out), step):
        block = slice(start, start + step)
        out[block] = torch.linalg.vecdot(grad[active.rows[block]], rows[active.latents[block]])
    return out


def ragged_row_sums_dense(
    weights: Float[Tensor, " entries"], active: Ragged, source: Float[Tensor, "n d"]
) -> Float[Tensor, "m d"]:
    """The readable twin of `ragged_row_sums`."""
    return active.dense(weights).T @ source


def ragged_row_sums(
    weights: Float[Tensor, " entries"], active: Ragged, source: Float[Tensor, "n d"]
) -> Float[Tensor, "m d"]:
    """For each latent, Σ over its entries of weight · source[row]: the gradients of decoder and encoder, as sums over
    runs of entries sorted by latent."""
    if len(weights) == 0:
        return source.new_zeros(active.n_latents, source.shape[1])
    order, rows, bounds = active.by_latent
    return torch.nn.functional.embedding_bag(rows, source, bounds[:-1], per_sample_weights=weights[order], mode="sum")
