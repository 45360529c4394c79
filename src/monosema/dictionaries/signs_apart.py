"""Signed components as features that only ever add: each component becomes two latents, one for either sign.

    c = ReLU(R (x − μ)),  ReLU(−R (x − μ));   x̂ = Dᵀ c₊ − Dᵀ c₋ + μ

The reconstruction is that of the components. A component whose sign changes between two rows is two changes here.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.dictionaries.baselines import Ica, Pca, _Baseline
from monosema.dictionaries.codes import Codes


class SignsApart(_Baseline):
    """The components of a PCA or ICA, each as two rectified latents.

    Attributes:
        components: what is read, and what the reconstruction is that of.
    """

    def __init__(self, components: Pca | Ica) -> None:
        super().__init__(torch.cat([components.directions, -components.directions]), components.metadata)
        self.components = components

    def _encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None) -> Codes:
        signed = self.components.encode(x, matmul_dtype).dense()
        return Codes.from_dense(torch.cat([signed, -signed], dim=1).relu())

    def _decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        return super()._decode(codes) + self.components.mean
