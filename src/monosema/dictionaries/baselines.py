"""Baselines behind the protocol of sparse dictionaries: what a sparse coder is compared with.

`Pca`: principal components. `Ica`: independent components. `Nmf`: non-negative parts. `Neurons`: the coordinates
themselves. `RandomDirections`: a dictionary that was not trained.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, VectorError, torch_generator
from monosema.dictionaries.codes import Codes, Vectors, rows_of
from monosema.dictionaries.initialisation import random_directions
from monosema.dictionaries.protocol import Metadata, in_a_line
from monosema.kernels import decode_active, encode_codes

RESTARTS = 3
"""Starts of FastICA, of which the best is kept."""
OF_GAUSSIAN = 0.374567
"""E log cosh ν of a standard Gaussian ν."""
FITTED_ROWS = 4096
"""Rows that are reconstructed at a time while the gain of random directions is fitted."""

_Own = TypeVar("_Own")


def _require_rows(sample: Float[Tensor, "rows d"], what: str) -> None:
    """Raise VectorError where a sample, which `what` is to be found of, has no rows, or NaN or infinity in them."""
    if len(sample) == 0:
        raise VectorError(f"There are no rows to find {what} of.")
    wrong = int((~torch.isfinite(sample)).any(dim=1).sum())
    if wrong:
        raise VectorError(
            f"{wrong:,} of {len(sample):,} rows to find {what} of hold NaN or infinity. Leave these rows out."
        )


class _Baseline:
    """Sizes, metadata, and moves to a device.

    Attributes:
        directions: the vector that each latent adds to the output when its activation is 1.
    """

    d_in: int
    d_out: int
    n_latents: int
    metadata: Metadata
    directions: Float[Tensor, "n_latents d_out"]

    def __init__(self, directions: Float[Tensor, "n_latents d_out"], metadata: Metadata | None) -> None:
        self.directions = directions
        self.n_latents, self.d_in = directions.shape
        self.d_out, self.metadata = self.d_in, metadata or Metadata()

    def to(self: _Own, device: torch.device | str) -> _Own:
        """Return a copy on a device."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        return moved

    def __repr__(self) -> str:
        return in_a_line(type(self).__name__, self)

    def encode(self, x: Vectors, matmul_dtype: torch.dtype | None = None) -> Codes:
        """Compute the codes of vectors of any leading shape, of torch or numpy; their shape is kept in the codes."""
        rows, shape = rows_of(x, self.directions)
        return self._encode(rows, matmul_dtype).in_shape(shape)

    def decode(self, codes: Codes | Vectors) -> Float[Tensor, "*rows d_out"]:
        """Compute vectors from codes, sparse or dense, in the leading shape of what was encoded."""
        codes = Codes.of(codes, self.n_latents, self.directions)
        return codes.arranged(self._decode(codes.in_shape(None)))

    def _encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None) -> Codes:
        raise NotImplementedError

    def _decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        return decode_active(codes.values, codes.active, self.directions)

    def __call__(self, x: Vectors) -> Float[Tensor, "*rows d_out"]:
        """Compute the reconstruction."""
        return self.decode(self.encode(x))


class _Components(_Baseline):
    """Dense signed codes along fixed components.

    c = R (x − μ),   x̂ = Dᵀ c + μ

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
        super().__init__(directions, metadata)
        self.mean, self.reading = mean, reading

    def _encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None) -> Codes:
        values = (x - self.mean) @ self.reading.T
        indices = torch.arange(self.n_latents, device=x.device).expand(len(x), -1)
        return Codes(values, indices, self.n_latents)

    def _decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        return codes.dense() @ self.directions + self.mean


class Pca(_Components):
    """Principal components: the dense baseline that a sparse dictionary is compared with.

    Codes are the (signed) coordinates along the first n principal directions of the centred data; the reconstruction
    is the best linear one of that rank. With as many components as a sparse dictionary's L0, both spend as many numbers
    per row.

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
        """Find exact components of all rows of a stream, in one pass and memory d × d (sums in float64).

        Raises:
            ConfigError: more components than the data has values in a row, or fewer than one.
            VectorError: no rows, or such with NaN or infinity.
        """
        rows, total, products = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for batch in batches:
            if len(batch):
                _require_rows(batch, "principal components")
            exact = batch.to(torch.float64)
            rows += len(exact)
            total, products = total + exact.sum(dim=0), products + exact.T @ exact
        if rows == 0:
            raise VectorError("There are no rows to find principal components of.")
        d = len(total)
        if not 1 <= n_components <= d:
            raise ConfigError(f"n_components = {n_components} is not valid: give a number from 1 to {d}.")
        mean = total / rows
        variances, vectors = torch.linalg.eigh(products / rows - torch.outer(mean, mean))
        chosen = slice(d - n_components, d)
        directions = vectors[:, chosen].flip(1).T.contiguous()
        return cls(mean.float(), directions.float(), variances[chosen].flip(0).clamp_min(0).float(), metadata)


class Ica(_Components):
    """Independent components: directions along which the data is as far from Gaussian as can be.

    c = W (x − μ),   x̂ = Aᵀ c + μ,   A the (pseudo-)inverse of W

    FastICA (Hyvärinen and Oja 2000) as scikit-learn computes it, on a sample of the rows in memory. It can come to rest
    at a saddle, so the best of a few starts is kept, by the negentropy Σ (E log cosh c − E log cosh ν)² with ν
    Gaussian. Codes are signed and dense; a component's sign is chosen so that its larger tail is positive, since a
    feature is read from its top values.

    Attributes:
        mean: subtracted before encoding, added after decoding.
        reading: W, one row per component; codes have variance 1 on the sample.
        directions: A, one row per component.
        converged: true where FastICA came to rest within its iterations.
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
        """Find components of a sample.

        Raises:
            ConfigError: fewer rows, or values in a row, than components are asked for.
            VectorError: no rows, rows with NaN or infinity, or rows that differ in fewer directions than that.
        """
        import numpy as np
        from sklearn.decomposition import FastICA
        from sklearn.exceptions import ConvergenceWarning

        _require_rows(sample, "independent components")
        rows, d = sample.shape
        if not 1 <= n_components <= min(rows, d):
            raise ConfigError(f"n_components = {n_components} is not valid: give a number from 1 to {min(rows, d)}.")
        data, fits = sample.double().cpu().numpy(), []
        for restart in range(RESTARTS):
            state = seed * RESTARTS + restart
            ica = FastICA(n_components, whiten="unit-variance", max_iter=iterations, tol=1e-5, random_state=state)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.simplefilter("error", RuntimeWarning)
                try:
                    sources = ica.fit_transform(data)
                except RuntimeWarning:
                    raise VectorError(
                        f"The {rows:,} rows differ in fewer than {n_components} directions, so that there are no "
                        f"{n_components} independent components. Ask for fewer, or give other rows."
                    ) from None
            fits.append((float(np.square(np.log(np.cosh(sources)).mean(axis=0) - OF_GAUSSIAN).sum()), ica, sources))
        _, ica, sources = max(fits, key=lambda fit: fit[0])
        signs = torch.from_numpy((sources**3).mean(axis=0)).sign()
        signs[signs == 0] = 1
        unmixing = torch.from_numpy(ica.components_) * signs.unsqueeze(1)
        directions = torch.from_numpy(ica.mixing_.T) * signs.unsqueeze(1)
        mean = torch.from_numpy(ica.mean_)
        converged = bool(ica.n_iter_ < iterations)
        return cls(mean.float(), unmixing.float().contiguous(), directions.float().contiguous(), converged, metadata)


class Nmf(_Baseline):
    """Non-negative matrix factorisation of rectified activations.

    x⁺ = [max(x, 0), max(−x, 0)] ≈ C H,   C, H ≥ 0,   x̂ = (C H)₊ − (C H)₋

    Lee and Seung 1999, as scikit-learn's MiniBatchNMF computes it, on a sample of rows in memory. With `signed` off
    only max(x, 0) is factorised, which suits sites that are positive (an MLP's hidden layer after ReLU), and what is
    negative is lost. Encoding a row solves for C with H held; it has no gradient.

    Attributes:
        signed: true where negative values are factorised too, in columns of their own.
        directions: the vector that each part adds to the output.
    """

    def __init__(self, fitted: Any, d_in: int, signed: bool, metadata: Metadata | None = None) -> None:
        parts = torch.from_numpy(fitted.components_).float()
        super().__init__(parts[:, :d_in] - parts[:, d_in:] if signed else parts, metadata)
        self._fitted, self.signed = fitted, signed

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
        """Find parts of a sample; `iterations` counts passes over it.

        Raises:
            ConfigError: fewer than one part.
            VectorError: no rows, rows with NaN or infinity, or nothing but zeros (below zero too, where not signed).
        """
        from sklearn.decomposition import MiniBatchNMF
        from sklearn.exceptions import ConvergenceWarning

        _require_rows(sample, "parts")
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

    def _encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None) -> Codes:
        """Compute non-negative codes of rows, by least squares with the parts held."""
        if len(x) == 0:
            return Codes.from_dense(x.new_zeros(0, self.n_latents))
        codes = self._fitted.transform(_rectified(x, self.signed).detach().cpu().double().numpy())
        return Codes.from_dense(torch.from_numpy(codes).to(x))


def _rectified(x: Float[Tensor, "n d"], signed: bool) -> Float[Tensor, "n columns"]:
    return torch.cat([x, -x], dim=1).relu() if signed else x.relu()


class Neurons(_Baseline):
    """The values of an activation themselves: each latent is one coordinate, rectified.

    c = ReLU(x) split by sign: latent i is max(xᵢ, 0); with `signed`, latent d + i is max(−xᵢ, 0)

    With both signs and no k the reconstruction is exact; with k the largest coordinates are kept.

    Attributes:
        signed: true where negative values have latents of their own; otherwise they are lost.
        k: coordinates kept per row; None keeps all.
    """

    def __init__(
        self, d_in: int, *, signed: bool = True, k: int | None = None, metadata: Metadata | None = None
    ) -> None:
        """Raises ConfigError for a width or k below 1, or a k above the number of latents."""
        n_latents = 2 * d_in if signed else d_in
        if d_in < 1 or (k is not None and not 1 <= k <= n_latents):
            raise ConfigError(f"Neurons of width {d_in} with k = {k}: both must be at least 1, k at most {n_latents}.")
        eye = torch.eye(d_in)
        super().__init__(torch.cat([eye, -eye]) if signed else eye, metadata)
        self.signed, self.k = signed, k

    def _encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None) -> Codes:
        dense = _rectified(x, self.signed)
        if self.k is None:
            return Codes.from_dense(dense)
        indices = dense.detach().topk(self.k, dim=1, sorted=False).indices
        return Codes(dense.gather(1, indices), indices, self.n_latents)

    def _decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        return decode_active(codes.values, codes.active, self.directions.to(codes.values.device))


class RandomDirections(_Baseline):
    """Random directions: the control that says how much of a score comes from the method alone.

    c = ReLU(top-k(R (x − μ))),   x̂ = g Rᵀ c + μ

    with random unit rows R, the mean μ of a sample, and the one gain g that reconstructs the sample best.

    Attributes:
        mean: subtracted before encoding, added after decoding.
        rows: unit directions that inputs are compared with.
        directions: the same times the gain.
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
        super().__init__(rows * gain, metadata)
        self.mean, self.rows, self.gain, self.k = mean, rows, gain, k

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
        _require_rows(sample, "mean and gain")
        if not 1 <= k <= n_latents:
            raise ConfigError(f"k = {k} is not valid: give a number from 1 to {n_latents}, the number of latents.")
        rows = random_directions(n_latents, sample.shape[1], torch_generator(seed, "random directions"))
        rows = rows.to(sample.device)
        mean = sample.mean(dim=0)
        power = shared = 0.0
        for some in sample.split(FITTED_ROWS):
            plain = cls(mean, rows, 1.0, k)(some) - mean
            power += float(plain.square().sum())
            shared += float((plain * (some - mean)).sum())
        gain = shared / power if power > 0 else 1.0
        return cls(mean, rows, gain, k, metadata)

    def _encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None) -> Codes:
        """Compute the k largest products with the directions."""
        bias = self.rows.new_zeros(self.n_latents)
        return Codes.from_entries(*encode_codes(x - self.mean, None, self.rows, bias, self.k, matmul_dtype))

    def _decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        return super()._decode(codes) + self.mean
