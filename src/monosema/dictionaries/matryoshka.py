"""Matryoshka BatchTopK sparse autoencoder (Bussmann et al. 2025, arXiv:2503.17547) with AuxK.

    c = the n · k largest of ReLU(W_enc (x − b_dec) + b_enc) over all n rows
    x̂^(j) = Σ_{i < m_j} c_i W_dec,i + b_dec,   m_1 < … < m_G = m nested prefixes
    L = (1/G Σ_j ‖x − x̂^(j)‖² + α ‖e − ê‖²) / Σ ‖x − x̄‖²

Early latents must reconstruct alone, so general features stay whole there, and later ones refine. `encode`, threshold
and auxiliary term as for BatchTopK; e is what the whole dictionary leaves over.

All prefixes are decoded in one pass: entries of a row are summed by the part of the dictionary that they lie in, and
prefixes are running sums over parts. Where processes share the latents, each decodes what of the parts lies among its
own, and sums over processes make the parts whole. Departure: the mean over prefixes instead of their sum, so that α
keeps its meaning.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from pydantic import field_validator
from torch import Tensor

from monosema.core import ConfigError
from monosema.dictionaries.batch_topk import BatchTopK, BatchTopKConfig
from monosema.dictionaries.protocol import Metadata
from monosema.kernels import Ragged, decode_active
from monosema.kernels.sharing import grid


class MatryoshkaConfig(BatchTopKConfig):
    """What a Matryoshka BatchTopK dictionary is."""

    prefixes: tuple[float, ...] = (1 / 32, 3 / 32, 7 / 32, 15 / 32, 1.0)
    """Sizes of the nested prefixes, as shares of all latents (parts of 1/32, 1/16, 1/8, 1/4 and the rest); the last
    is 1."""

    @field_validator("prefixes")
    @classmethod
    def _rising(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not shares or shares[-1] != 1.0 or shares[0] <= 0 or any(b <= a for a, b in itertools.pairwise(shares)):
            raise ValueError("give shares above 0 that rise and end at 1")
        return shares


class MatryoshkaBatchTopK(BatchTopK):
    """A Matryoshka BatchTopK dictionary; see the module's equation.

    Attributes:
        prefix_sizes: latents of each prefix. A part of a dictionary, made where the grid says which part it is
            (`kernels.sharing`), has the whole's.
    """

    def __init__(self, config: MatryoshkaConfig, metadata: Metadata | None = None, seed: int = 0) -> None:
        """Random start. Raises ConfigError where two prefixes have the same size, or more are kept than there are."""
        together = grid()
        shard, shards = (0, 1) if together is None else (together.shard, together.shards)
        sizes = [max(1, round(share * config.n_latents * shards)) for share in config.prefixes]
        if len(set(sizes)) < len(sizes):
            raise ConfigError(
                f"MatryoshkaConfig.prefixes are {sizes} of {config.n_latents} latents; they must differ. "
                "Give fewer prefixes, or more latents."
            )
        super().__init__(config, metadata, seed)
        self.prefix_sizes = tuple(sizes)
        first = shard * config.n_latents
        self._bounds = torch.tensor([min(max(size - first, 0), config.n_latents) for size in sizes[:-1]])

    def _errors(
        self, x: Float[Tensor, "n d_in"], values: Float[Tensor, " entries"], active: Ragged
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "n d_in"]]:
        """The squared error summed over rows, mean over prefixes, and the reconstruction by all latents."""
        parts = len(self.prefix_sizes)
        of_parts = decode_active(values, self._by_part(active), self.W_dec).view(len(x), parts, self.d_in)
        left_over = x - self.b_dec
        errors = []
        for part in of_parts.unbind(dim=1):
            left_over = left_over - part
            errors.append(left_over.square().sum())
        return torch.stack(errors).mean(), x - left_over

    def _by_part(self, active: Ragged) -> Ragged:
        """The same entries, with each part of a row as a row of its own: latents rise within rows, so none moves."""
        part = torch.bucketize(active.latents, self._bounds.to(active.latents.device), right=True)
        rows = active.rows * len(self.prefix_sizes) + part
        counts = torch.bincount(rows, minlength=len(active) * len(self.prefix_sizes))
        starts = torch.zeros(len(counts) + 1, dtype=torch.int64, device=rows.device)
        torch.cumsum(counts, 0, out=starts[1:])
        return Ragged(active.latents, starts, active.n_latents)
