"""What stands between the formats and the architectures: a dictionary as plain tensors and a few facts.

    z = W_enc (N(x) − b) + b_enc,   c = activation(z),   ŷ = N⁻¹(W_decᵀ c + b_dec) + W_skip x

with b = b_dec where the dictionary is centred, else 0, and N a normalisation of each row. Every format reads into
`Parts` and writes from `Parts`, and knows no architecture; `classes` makes them of dictionaries and turns them back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.dictionaries.protocol import Metadata

Activation = Literal["relu", "topk", "batch_topk", "jumprelu", "gated"]
Normalisation = Literal["none", "layer_norm", "rescale"]


@dataclass(frozen=True)
class Parts:
    """A dictionary as plain float32 tensors, rows first; see the module's equation.

    Attributes:
        activation: relu; the k largest, rectified; those above a threshold (one for all latents where it is batch_topk,
            one for each where it is jumprelu); or gated by a second bias.
        W_enc: the encoder, one row per latent.
        b_enc: its bias; of the gate where gated.
        W_dec: the decoder, one row per latent.
        b_dec: its bias.
        centred: whether b_dec is taken from the input.
        k: latents kept per row; for batch_topk, on average.
        threshold: one for each latent, in units of z.
        magnitude_bias: what gated latents have as bias beside the gate's.
        magnitude_scale: logarithm of the factor between the gate's encoder rows and the magnitudes'.
        skip: W_skip.
        transcodes: whether the output is another site's.
        normalisation: what is done to each input row, and undone to the output.
        own: monosema's class and configuration, where the files name them.
        metadata: where the dictionary comes from.
    """

    activation: Activation
    W_enc: Float[Tensor, "n_latents d_in"]
    b_enc: Float[Tensor, " n_latents"]
    W_dec: Float[Tensor, "n_latents d_out"]
    b_dec: Float[Tensor, " d_out"]
    centred: bool = True
    k: int | None = None
    threshold: Float[Tensor, " n_latents"] | None = None
    magnitude_bias: Float[Tensor, " n_latents"] | None = None
    magnitude_scale: Float[Tensor, " n_latents"] | None = None
    skip: Float[Tensor, "d_out d_in"] | None = None
    transcodes: bool = False
    normalisation: Normalisation = "none"
    own: dict[str, Any] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def d_in(self) -> int:
        """Values in an input row."""
        return self.W_enc.shape[1]

    @property
    def d_out(self) -> int:
        """Values in an output row."""
        return self.W_dec.shape[1]

    @property
    def n_latents(self) -> int:
        """Number of latents."""
        return self.W_enc.shape[0]

    @property
    def has_unit_rows(self) -> bool:
        """Whether decoder rows have norm 1, as nearly as float32 can say."""
        norms = torch.linalg.vector_norm(self.W_dec, dim=1)
        return torch.allclose(norms, torch.ones_like(norms))

    def replace(self, **values: Any) -> Parts:
        """A copy with some parts changed."""
        return replace(self, **values)

    def centre(self, centred: bool) -> Parts:
        """The same function with b_dec taken from the input, or not: the biases take up the difference."""
        if centred == self.centred:
            return self
        shift = self.W_enc @ self.b_dec
        return self._with_biases(shift if centred else -shift).replace(centred=centred)

    def with_unit_rows(self) -> Parts:
        """The same reconstruction from decoder rows of norm 1; activations are multiplied by the norms that were."""
        norms = torch.linalg.vector_norm(self.W_dec, dim=1).clamp_min(torch.finfo(self.W_dec.dtype).tiny)
        return self.replace(
            W_enc=self.W_enc * norms.unsqueeze(1),
            b_enc=self.b_enc * norms,
            W_dec=self.W_dec / norms.unsqueeze(1),
            threshold=None if self.threshold is None else self.threshold * norms,
            magnitude_bias=None if self.magnitude_bias is None else self.magnitude_bias * norms,
        )

    def of_scaled(self, scale: float) -> Parts:
        """The dictionary of x, from these parts, which are of scale · x; activations stay as they are."""
        return self.replace(W_enc=self.W_enc * scale, W_dec=self.W_dec / scale, b_dec=self.b_dec / scale)

    def of_whitened(
        self,
        mean: Float[Tensor, " d_in"],
        matrix: Float[Tensor, "d_in d_in"],
        inverse: Float[Tensor, "d_in d_in"],
    ) -> Parts:
        """The dictionary of x, from these parts, which are of (x − mean) matrix; activations stay as they are."""
        folded = self.replace(
            W_enc=self.W_enc @ matrix.T,
            W_dec=self.W_dec @ inverse,
            b_dec=self.b_dec @ inverse + mean,
        )
        return folded if self.centred else folded._with_biases(-(folded.W_enc @ mean))

    def as_jumprelu(self) -> Parts:
        """The same function by thresholds alone, which relu, batch_topk and gated dictionaries allow.

        A gate's z > −b_gate is a threshold of the magnitude eʳ z + b_mag, at b_mag − eʳ b_gate; magnitudes below 0 are
        cut off besides.
        """
        if self.activation == "gated" and self.magnitude_bias is not None and self.magnitude_scale is not None:
            factor = self.magnitude_scale.exp()
            return self.replace(
                activation="jumprelu",
                W_enc=self.W_enc * factor.unsqueeze(1),
                b_enc=self.magnitude_bias,
                threshold=(self.magnitude_bias - factor * self.b_enc).clamp_min(0.0),
                magnitude_bias=None,
                magnitude_scale=None,
            )
        threshold = torch.zeros_like(self.b_enc) if self.threshold is None else self.threshold.clamp_min(0.0)
        return self.replace(activation="jumprelu", threshold=threshold)

    def _with_biases(self, shift: Float[Tensor, " n_latents"]) -> Parts:
        magnitude = self.magnitude_bias
        if magnitude is not None and self.magnitude_scale is not None:
            magnitude = magnitude + shift * self.magnitude_scale.exp()
        return self.replace(b_enc=self.b_enc + shift, magnitude_bias=magnitude)
