"""Dense codes along fixed components: what principal and independent components share.

c = R (x − μ),   x̂ = Dᵀ c + μ
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import VectorError
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Metadata


def require_rows(sample: Float[Tensor, "rows d"], what: str) -> None:
    """Raise VectorError where a sample, which `what` is to be found of, has no rows, or NaN or infinity in them."""
    if len(sample) == 0:
        raise VectorError(f"There are no rows to find {what} of.")
    wrong = int((~torch.isfinite(sample)).any(dim=1).sum())
    if wrong:
        raise VectorError(
            f"{wrong:,} of {len(sample):,} rows to find {what} of hold NaN or infinity. Leave these rows out."
        )


class Components:
    """A dictionary whose latents are all active, with either sign.

    Attributes:
        mean: μ.
        reading: R, one row per component.
        directions: D, one row per component.
    """

    def __init__(
        self,
        mean: Float[Tensor, " d"],
        reading: Float[Tensor, "n d"],
        directions: Float[Tensor, "n d"],
        metadata: Metadata | None,
    ) -> None:
        self.mean = mean
        self.reading = reading
        self.directions = directions
        self.metadata = metadata or Metadata()
        self.n_latents, self.d_in = directions.shape
        self.d_out = self.d_in

    def encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None = None) -> Codes:
        """Coordinates along all components."""
        values = (x - self.mean) @ self.reading.T
        indices = torch.arange(self.n_latents, device=x.device).expand(len(x), -1)
        return Codes(values, indices, self.n_latents)

    def decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Rows from coordinates."""
        return codes.dense() @ self.directions + self.mean

    def __call__(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """Projection onto the components' span."""
        return self.decode(self.encode(x))
