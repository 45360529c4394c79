"""A dictionary whose input rows are normalised one by one, and its output rows likewise brought back.

    layer_norm:  N(x) = (x − μ) / (σ + ε),     ŷ = σ · D(N(x)) + μ,     μ, σ mean and unbiased deviation of x's values
    rescale:     N(x) = x √d / ‖x‖,            ŷ = D(N(x)) ‖x‖ / √d

Foreign dictionaries come so: OpenAI's for GPT-2, SAELens' layer_norm and constant_norm_rescale; ε is 1e-5, as there.
Codes are those of the normalised row. To bring back a row its μ and σ are needed, which codes alone don't hold:
`encode` gives `NormalisedCodes`, which carry them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from monosema.core import ConfigError, VectorError
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Dictionary, Metadata

EPSILON = 1e-5
KINDS = ("layer_norm", "rescale")


@dataclass(frozen=True)
class NormalisedCodes(Codes):
    """Codes, and what their rows were before normalisation.

    Attributes:
        shift: what was taken from each row.
        scale: what each row is multiplied with to bring it back.
    """

    shift: Float[Tensor, "n 1"]
    scale: Float[Tensor, "n 1"]


class NormalisedInput(nn.Module):
    """A dictionary behind a normalisation; see the module's equation. It can't be trained.

    Attributes:
        inner: the dictionary of normalised rows.
        kind: layer_norm or rescale.
    """

    def __init__(self, inner: Dictionary, kind: Literal["layer_norm", "rescale"]) -> None:
        """Raises ConfigError for another kind, or where the output is not the input's site."""
        super().__init__()
        if kind not in KINDS:
            raise ConfigError(f"kind = {kind!r} is no normalisation; there are: {', '.join(KINDS)}.")
        if inner.d_in != inner.d_out:
            raise ConfigError(
                "Only autoencoders can be normalised: a transcoder's output is no row of its input's site."
            )
        self.inner: Any = inner
        self.kind = kind
        self.d_in, self.d_out, self.n_latents = inner.d_in, inner.d_out, inner.n_latents
        self.metadata: Metadata = inner.metadata

    @property
    def directions(self) -> Float[Tensor, "n_latents d_out"]:
        """What each latent adds at activation 1 to the normalised row."""
        return self.inner.directions

    def encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None = None) -> NormalisedCodes:
        """Codes of the normalised rows, with what brings the rows back."""
        if self.kind == "layer_norm":
            shift = x.mean(dim=1, keepdim=True)
            centred = x - shift
            scale = (centred.square().sum(dim=1, keepdim=True) / max(1, self.d_in - 1)).sqrt()
            normal = centred / (scale + EPSILON)
        else:
            shift = x.new_zeros(len(x), 1)
            scale = torch.linalg.vector_norm(x, dim=1, keepdim=True) / self.d_in**0.5
            normal = x / scale.clamp_min(torch.finfo(x.dtype).tiny)
        codes = self.inner.encode(normal, matmul_dtype)
        return NormalisedCodes(codes.values, codes.indices, codes.n_latents, shift, scale)

    def decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Rows from codes that `encode` gave. Raises VectorError for others, which don't say where their rows were."""
        if not isinstance(codes, NormalisedCodes):
            raise VectorError(
                "This dictionary normalises each row, and these codes don't say how theirs were normalised. "
                "Decode what encode() gave, or make NormalisedCodes with a shift and a scale for each row."
            )
        return self.inner.decode(codes) * codes.scale + codes.shift

    def forward(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """The reconstruction, with gradients."""
        return self.decode(self.encode(x))
