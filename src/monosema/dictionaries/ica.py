"""Independent components as a dictionary: directions along which the data is as far from Gaussian as can be.

    c = W (x − μ),   x̂ = Aᵀ c + μ,   A the (pseudo-)inverse of W

FastICA (Hyvärinen and Oja 2000) as scikit-learn computes it, on a sample of the rows in memory. It can come to rest at
a saddle, so the best of a few starts is kept, by the negentropy Σ (E log cosh c − E log cosh ν)² with ν Gaussian. Codes
are signed and dense; a component's sign is chosen so that its larger tail is positive, since a feature is read from its
top values.
"""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, VectorError
from monosema.dictionaries.components import Components, require_rows
from monosema.dictionaries.protocol import Metadata

RESTARTS = 3
OF_GAUSSIAN = 0.374567
"""E log cosh ν of a standard Gaussian ν."""


class Ica(Components):
    """A dictionary of independent components.

    Attributes:
        mean: subtracted before encoding, added after decoding.
        reading: W, one row per component; codes have variance 1 on the sample.
        directions: A, one row per component.
        converged: whether FastICA came to rest within its iterations.
    """

    def __init__(
        self,
        mean: Float[Tensor, " d"],
        unmixing: Float[Tensor, "n d"],
        directions: Float[Tensor, "n d"],
        converged: bool = True,
        metadata: Metadata | None = None,
    ) -> None:
        super().__init__(mean, unmixing, directions, metadata)
        self.converged = converged

    @classmethod
    def fit(
        cls,
        sample: Float[Tensor, "rows d"],
        n_components: int,
        *,
        seed: int = 0,
        iterations: int = 500,
        metadata: Metadata | None = None,
    ) -> Ica:
        """Components of a sample.

        Raises:
            ConfigError: fewer rows, or values in a row, than components are asked for.
            VectorError: no rows, rows with NaN or infinity, or rows that differ in fewer directions than that.
        """
        import numpy as np
        from sklearn.decomposition import FastICA
        from sklearn.exceptions import ConvergenceWarning

        require_rows(sample, "independent components")
        rows, d = sample.shape
        if not 1 <= n_components <= min(rows, d):
            raise ConfigError(f"n_components = {n_components} is not valid: give a number from 1 to {min(rows, d)}.")
        data = sample.double().cpu().numpy()
        best = None
        for restart in range(RESTARTS):
            ica = FastICA(
                n_components,
                whiten="unit-variance",
                max_iter=iterations,
                tol=1e-5,
                random_state=seed * RESTARTS + restart,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.simplefilter("error", RuntimeWarning)
                try:
                    found = ica.fit_transform(data)
                except RuntimeWarning:
                    raise VectorError(
                        f"The {rows:,} rows differ in fewer than {n_components} directions, so that there are no "
                        f"{n_components} independent components. Ask for fewer, or give other rows."
                    ) from None
            distance = float(np.square(np.log(np.cosh(found)).mean(axis=0) - OF_GAUSSIAN).sum())
            if best is None or distance > best[0]:
                best = distance, ica, found
        assert best is not None
        _, ica, sources = best
        signs = torch.from_numpy((sources**3).mean(axis=0)).sign()
        signs[signs == 0] = 1
        unmixing = torch.from_numpy(ica.components_) * signs.unsqueeze(1)
        directions = torch.from_numpy(ica.mixing_.T) * signs.unsqueeze(1)
        mean = torch.from_numpy(ica.mean_)
        converged = bool(ica.n_iter_ < iterations)
        return cls(mean.float(), unmixing.float().contiguous(), directions.float().contiguous(), converged, metadata)
