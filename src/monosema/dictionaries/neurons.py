"""The values of an activation themselves as a dictionary: each latent is one coordinate, rectified.

    c = ReLU(x) split by sign: latent i is max(xᵢ, 0); with `signed`, latent d + i is max(−xᵢ, 0)

With both signs and no k the reconstruction is exact; with k the largest coordinates are kept.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Metadata
from monosema.kernels import Selection, decode_codes


class Neurons:
    """The coordinates of a site as a dictionary.

    Attributes:
        signed: whether negative values have latents of their own; otherwise they are lost.
        k: coordinates kept per row; None keeps all.
    """

    def __init__(
        self, d_in: int, *, signed: bool = True, k: int | None = None, metadata: Metadata | None = None
    ) -> None:
        """Raises ConfigError for a width or k below 1, or a k above the number of latents."""
        self.d_in = self.d_out = d_in
        self.signed = signed
        self.n_latents = 2 * d_in if signed else d_in
        if d_in < 1 or (k is not None and not 1 <= k <= self.n_latents):
            raise ConfigError(
                f"Neurons of width {d_in} with k = {k}: both must be at least 1, k at most {self.n_latents}."
            )
        self.k = k
        self.metadata = metadata or Metadata()
        eye = torch.eye(d_in)
        self.directions = torch.cat([eye, -eye]) if signed else eye

    def encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None = None) -> Codes:
        """Rectified coordinates."""
        dense = torch.cat([x, -x], dim=1).relu() if self.signed else x.relu()
        if self.k is None:
            return Codes.from_dense(dense)
        indices = dense.detach().topk(self.k, dim=1, sorted=False).indices
        return Codes(dense.gather(1, indices), indices, self.n_latents)

    def decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Rows from codes."""
        directions = self.directions.to(codes.values.device)
        return decode_codes(codes.values, Selection(codes.indices, self.n_latents), directions)

    def __call__(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """The reconstruction."""
        return self.decode(self.encode(x))
