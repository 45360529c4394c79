"""Principal components as a dictionary: the dense baseline that a sparse one is compared with.

Codes are the (signed) coordinates along the first n principal directions of the centred data; the reconstruction is the
best linear one of that rank. With as many components as a sparse dictionary's L0, both spend as many numbers per row.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, VectorError
from monosema.dictionaries.components import Components, require_rows
from monosema.dictionaries.protocol import Metadata


class Pca(Components):
    """A dictionary of principal directions.

    Attributes:
        mean: subtracted before encoding, added after decoding.
        directions: orthonormal rows, by falling variance.
        variances: variance of the data along each.
    """

    def __init__(
        self,
        mean: Float[Tensor, " d"],
        directions: Float[Tensor, "n d"],
        variances: Float[Tensor, " n"],
        metadata: Metadata | None = None,
    ) -> None:
        super().__init__(mean, directions, directions, metadata)
        self.variances = variances

    @classmethod
    def fit(cls, batches: Iterable[Float[Tensor, "_ d"]], n_components: int, metadata: Metadata | None = None) -> Pca:
        """Exact components of all rows of a stream, in one pass and memory d × d (sums in float64).

        Raises:
            ConfigError: more components than the data has values in a row, or fewer than one.
            VectorError: no rows, or such with NaN or infinity.
        """
        rows, total, products = 0, None, None
        for batch in batches:
            if len(batch):
                require_rows(batch, "principal components")
            exact = batch.to(torch.float64)
            rows += len(exact)
            if total is None or products is None:
                total, products = exact.sum(dim=0), exact.T @ exact
            else:
                total += exact.sum(dim=0)
                products += exact.T @ exact
        if total is None or products is None or rows == 0:
            raise VectorError("There are no rows to find principal components of.")
        d = len(total)
        if not 1 <= n_components <= d:
            raise ConfigError(f"n_components = {n_components} is not valid: give a number from 1 to {d}.")
        mean = total / rows
        variances, vectors = torch.linalg.eigh(products / rows - torch.outer(mean, mean))
        chosen = slice(d - n_components, d)
        directions = vectors[:, chosen].flip(1).T.contiguous()
        return cls(mean.float(), directions.float(), variances[chosen].flip(0).clamp_min(0).float(), metadata)
