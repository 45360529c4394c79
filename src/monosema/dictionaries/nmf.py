"""Non-negative matrix factorisation of rectified activations as a dictionary.

    x⁺ = [max(x, 0), max(−x, 0)] ≈ C H,   C, H ≥ 0,   x̂ = (C H)₊ − (C H)₋

Lee and Seung 1999, as scikit-learn's MiniBatchNMF computes it, on a sample of rows in memory. With `signed` off only
max(x, 0) is factorised, which suits sites that are positive (an MLP's hidden layer after ReLU), and what is negative is
lost. Encoding a row solves for C with H held.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, VectorError
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.components import require_rows
from monosema.dictionaries.protocol import Metadata


class Nmf:
    """A dictionary of non-negative parts.

    Attributes:
        signed: whether negative values are factorised too, in columns of their own.
        directions: what each part adds to the output.
    """

    def __init__(self, fitted: Any, d_in: int, signed: bool, metadata: Metadata | None = None) -> None:
        self._fitted = fitted
        self.signed = signed
        self.d_in = self.d_out = d_in
        parts = torch.from_numpy(fitted.components_).float()
        self.n_latents = len(parts)
        self.directions = parts[:, :d_in] - parts[:, d_in:] if signed else parts
        self.metadata = metadata or Metadata()

    @classmethod
    def fit(
        cls,
        sample: Float[Tensor, "rows d"],
        n_components: int,
        *,
        signed: bool = True,
        seed: int = 0,
        iterations: int = 50,
        metadata: Metadata | None = None,
    ) -> Nmf:
        """Parts of a sample; `iterations` counts passes over it.

        Raises:
            ConfigError: fewer than one part.
            VectorError: no rows, rows with NaN or infinity, or nothing but zeros (below zero too, where not signed).
        """
        from sklearn.decomposition import MiniBatchNMF
        from sklearn.exceptions import ConvergenceWarning

        require_rows(sample, "parts")
        data = _rectified(sample, signed)
        if not bool(data.any()):
            raise VectorError(f"The {len(sample):,} rows have no value {'other than' if signed else 'above'} 0.")
        if n_components < 1:
            raise ConfigError(f"n_components = {n_components} is not valid: give a number above 0.")
        nmf = MiniBatchNMF(
            n_components, init="random", max_iter=iterations, batch_size=min(1024, len(sample)), random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            nmf.fit(data.cpu().double().numpy())
        return cls(nmf, sample.shape[1], signed, metadata)

    def encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None = None) -> Codes:
        """Non-negative codes of rows, by least squares with the parts held."""
        if len(x) == 0:
            return Codes.from_dense(x.new_zeros(0, self.n_latents))
        codes = self._fitted.transform(_rectified(x, self.signed).cpu().double().numpy())
        return Codes.from_dense(torch.from_numpy(codes).to(x))

    def decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Rows from codes."""
        return codes.dense() @ self.directions.to(codes.values.device)

    def __call__(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """The reconstruction."""
        return self.decode(self.encode(x))


def _rectified(x: Float[Tensor, "n d"], signed: bool) -> Float[Tensor, "n columns"]:
    return torch.cat([x, -x], dim=1).relu() if signed else x.relu()
