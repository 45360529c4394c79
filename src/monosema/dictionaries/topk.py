"""TopK sparse autoencoder with AuxK (Gao et al. 2024, arXiv:2406.04093).

    z = top-k(W_enc (x − b_dec) + b_enc),   c = ReLU(z),   x̂ = W_decᵀ c + b_dec
    L = (‖x − x̂‖² + α ‖e − ê‖²) / Σ ‖x − x̄‖²,   e = x − x̂ (detached)

where ê is decoded, without b_dec, from the k_aux largest pre-activations among the latents that have been silent for
`dead_after` vectors. Rows of W_dec have norm 1; the part of their gradient along them is removed. Multi-TopK (their
section 5.4), where `multi_coefficient` is above 0, adds that multiple of the same error at 4k, so that codes can be cut
off at another k, or at a threshold, than was trained.

Departures from the paper. Decoder rows start towards data points, with some noise, and the encoder as their transpose
times the factor that reconstructs a sample best: less is left unexplained, and more latents live, than from random rows
(measured on all-MiniLM activations). AuxK looks at a part of each batch, and at a part of the dead
latents where there are many. In short runs a latent is dead after a third of the run, and at seventeen points of a run
silent latents start anew towards residuals (`resampling`): AuxK alone leaves more latents dead than no revival at all
there, where Adam gives a latent that has no other gradient steps of full size, whatever α (measured with ε = 1e-12).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from monosema.core import ConfigError
from monosema.dictionaries.autoencoder import Autoencoder
from monosema.dictionaries.auxiliary import AuxConfig, auxiliary_error
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Losses, Metadata, StepContext
from monosema.dictionaries.resampling import resample_towards_residuals
from monosema.dictionaries.terms import batch_variance, losses_of
from monosema.kernels import Selection, decode_codes, encode_codes
from monosema.kernels.sharing import grid, kept_of_rows

MULTI = 4
"""Multi-TopK's second number of latents, as a multiple of k (Gao et al. 2024, section 5.4)."""


class TopKConfig(AuxConfig):
    """What a TopK dictionary is."""

    k: int = Field(32, gt=0)
    """Latents kept per row."""
    multi_coefficient: float = Field(0.0, ge=0)
    """Weight of the error with 4k latents (1/8 in Gao et al.); 0 is plain TopK."""


class TopK(Autoencoder):
    """A TopK dictionary; see the module's equation."""

    def __init__(self, config: TopKConfig, metadata: Metadata | None = None, seed: int = 0) -> None:
        """Random start. Raises ConfigError where more latents are to be kept than there are."""
        if config.k > config.n_latents:
            raise ConfigError(f"TopKConfig.k = {config.k} is not valid: there are only {config.n_latents} latents.")
        super().__init__(config, metadata, seed)

    def _activate(self, centred: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None) -> Codes:
        values, selection = encode_codes(centred, None, self.W_enc, self.b_enc, self.config.k, matmul_dtype)
        return Codes(values, selection.indices, self.n_latents)

    def kept_of_all(self, codes: Codes) -> Codes:
        """Those among the k largest of each row, over all processes that share the latents."""
        return Codes(kept_of_rows(codes.values, self.config.k), codes.indices, self.n_latents)

    def losses(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Losses:
        """Forward pass and loss terms; changes no state."""
        x, k, together = self._checked(x), self.config.k, grid()
        latents = self.n_latents * (1 if together is None else together.shards)
        several = min(MULTI * k, latents) if self.config.multi_coefficient > 0 else k
        all_values, all_selected = encode_codes(
            x, self.input_bias, self.W_enc, self.b_enc, several, context.matmul_dtype
        )
        values, selection = all_values, all_selected
        if several > k:
            places = all_values.detach().topk(min(k, all_values.shape[1]), dim=1, sorted=False).indices
            values = kept_of_rows(all_values.gather(1, places), k)
            selection = Selection(all_selected.indices.gather(1, places), self.n_latents)
        residual = x - (decode_codes(values, selection, self.W_dec) + self.b_dec)
        variance = batch_variance(x)
        terms = {"mse": residual.square().sum() / variance}
        if self.config.multi_coefficient > 0:
            more = x - (decode_codes(all_values, all_selected, self.W_dec) + self.b_dec)
            terms["multi"] = more.square().sum() * self.config.multi_coefficient / variance
        auxiliary = auxiliary_error(self, x, residual.detach(), context)
        if auxiliary is not None:
            terms["aux"] = auxiliary * self.config.aux_coefficient / variance
        return losses_of(terms, Codes(values.detach(), selection.indices, self.n_latents), residual, variance)

    def resample(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Int[Tensor, " latents"]:
        """Give silent latents a new start at the chosen points of the run."""
        return resample_towards_residuals(self, x, context, self.config.resample_at)
