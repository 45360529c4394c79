"""TopK sparse autoencoder with AuxK (Gao et al. 2024, arXiv:2406.04093).

    z = top-k(W_enc (x − b_dec) + b_enc),   c = ReLU(z),   x̂ = W_decᵀ c + b_dec
    L = (‖x − x̂‖² + α ‖e − ê‖²) / Σ ‖x − x̄‖²,   e = x − x̂ (detached)

where ê is decoded, without b_dec, from the k_aux largest pre-activations among the latents that have been silent for
`dead_after` vectors. Rows of W_dec have norm 1; the part of their gradient along them is removed.

Departures from the paper. Decoder rows start towards data points, with some noise, and the encoder as their transpose
times the factor that reconstructs a sample best: less is left unexplained, and more latents live, than from random rows
(measured on all-MiniLM activations). AuxK looks at a part of each batch, and at a part of the dead
latents where there are many. In short runs a latent is dead after a tenth of the run.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.core import ConfigError
from monosema.dictionaries.autoencoder import Autoencoder
from monosema.dictionaries.auxiliary import AuxConfig, auxiliary_error
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Losses, Metadata, Moment
from monosema.kernels import decode_codes, encode_codes, encode_top_k

__all__ = ["TopK", "TopKConfig"]


class TopKConfig(AuxConfig):
    """What a TopK dictionary is."""

    k: int = Field(32, gt=0)
    """Latents kept per row."""


class TopK(Autoencoder):
    """A TopK dictionary; see the module's equation."""

    def __init__(self, config: TopKConfig, metadata: Metadata | None = None, seed: int = 0) -> None:
        """Random start. Raises ConfigError where more latents are to be kept than there are."""
        if config.k > config.n_latents:
            raise ConfigError(f"TopKConfig.k = {config.k} is not valid: there are only {config.n_latents} latents.")
        super().__init__(config, metadata, seed)

    def _activate(self, centred: Float[Tensor, "n d_in"], product: torch.dtype | None) -> Codes:
        values, indices = encode_top_k(centred, self.encoder, self.encoder_bias, self.config.k, product)
        return Codes(values, indices, self.n_latents)

    def losses(self, x: Float[Tensor, "n d_in"], moment: Moment) -> Losses:
        """Forward pass and loss terms; changes no state."""
        values, selection = encode_codes(
            self._checked(x), self.input_bias, self.encoder, self.encoder_bias, self.config.k, moment.product
        )
        residual = x - (decode_codes(values, selection, self.decoder) + self.decoder_bias)
        variance = (x - x.mean(dim=0)).square().sum().clamp_min(torch.finfo(x.dtype).tiny)
        error = residual.square().sum() / variance
        terms = {"mse": error}
        auxiliary = auxiliary_error(self, x, residual.detach(), moment)
        if auxiliary is not None:
            terms["aux"] = auxiliary * self.config.aux_coefficient / variance
        codes = Codes(values.detach(), selection.indices, self.n_latents)
        return Losses(
            torch.stack(list(terms.values())).sum(), {n: t.detach() for n, t in terms.items()}, codes, error.detach()
        )
