"""Random directions as a dictionary: the control that says how much of a score comes from the method alone.

    c = ReLU(top-k(R (x − μ))),   x̂ = g Rᵀ c + μ

with random unit rows R, the mean μ of a sample, and the one gain g that reconstructs the sample best.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, torch_generator
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.components import require_rows
from monosema.dictionaries.initialisation import random_directions
from monosema.dictionaries.protocol import Metadata
from monosema.kernels import Selection, decode_codes, encode_codes

_FITTED_ROWS = 4096
"""Rows that are reconstructed at a time while the gain is fitted."""


class RandomDirections:
    """A dictionary that was not trained.

    Attributes:
        mean: subtracted before encoding, added after decoding.
        rows: unit directions that inputs are compared with.
        gain: factor on all of them when decoding.
        k: latents kept per row.
    """

    def __init__(
        self,
        mean: Float[Tensor, " d"],
        rows: Float[Tensor, "n_latents d"],
        gain: float,
        k: int,
        metadata: Metadata | None = None,
    ) -> None:
        self.mean = mean
        self.rows = rows
        self.gain = gain
        self.k = k
        self.metadata = metadata or Metadata()
        self.n_latents, self.d_in = rows.shape
        self.d_out = self.d_in

    @classmethod
    def fit(
        cls,
        sample: Float[Tensor, "n d"],
        n_latents: int,
        k: int,
        seed: int = 0,
        metadata: Metadata | None = None,
    ) -> RandomDirections:
        """Draw directions, and fit mean and gain to a sample.

        Raises ConfigError for a k out of range, VectorError for no rows or such with NaN or infinity.
        """
        require_rows(sample, "mean and gain")
        if not 1 <= k <= n_latents:
            raise ConfigError(f"k = {k} is not valid: give a number from 1 to {n_latents}, the number of latents.")
        rows = random_directions(n_latents, sample.shape[1], torch_generator(seed, "random directions"))
        rows = rows.to(sample.device)
        mean = sample.mean(dim=0)
        power = shared = 0.0
        for some in sample.split(_FITTED_ROWS):
            plain = cls(mean, rows, 1.0, k)(some) - mean
            power += float(plain.square().sum())
            shared += float((plain * (some - mean)).sum())
        gain = shared / power if power > 0 else 1.0
        return cls(mean, rows, gain, k, metadata)

    @property
    def directions(self) -> Float[Tensor, "n_latents d_out"]:
        """What each latent adds at activation 1."""
        return self.rows * self.gain

    def encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None = None) -> Codes:
        """Codes of rows, with gradients."""
        bias = self.rows.new_zeros(self.n_latents)
        values, selection = encode_codes(x - self.mean, None, self.rows, bias, self.k, matmul_dtype)
        return Codes(values, selection.indices, self.n_latents)

    def decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Rows from codes."""
        return decode_codes(codes.values * self.gain, Selection(codes.indices, self.n_latents), self.rows) + self.mean

    def __call__(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """The reconstruction."""
        return self.decode(self.encode(x))
