"""BatchTopK sparse autoencoder (Bussmann et al. 2024, arXiv:2412.06410) with AuxK.

    z = ReLU(W_enc (x − b_dec) + b_enc),   c = the n · k largest of z over all n rows,   x̂ = W_decᵀ c + b_dec
    L = (‖x − x̂‖² + α ‖e − ê‖²) / Σ ‖x − x̄‖²

The auxiliary term is TopK's (`auxiliary`). Outside training a row doesn't know its batch: `encode` keeps what lies
above a threshold, which training follows: the mean of each batch's smallest kept activation, moving with weight 0.001.
Rows of W_dec have norm 1; the part of their gradient along them is removed.

Departures. In the first ten thousand steps the mean moves faster, over about the last tenth of all steps so far: a
short run would otherwise end with the threshold of its beginning. Starts, resampling, and the parts that AuxK looks at,
as for TopK.
"""

from __future__ import annotations

import math

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
from monosema.kernels import Ragged, decode_active, encode_batch, encode_batch_top_k, encode_entries
from monosema.kernels.sharing import grid

SLOWEST = 0.001
"""Weight of a new batch in the threshold's moving mean (0.999 of what was)."""
LATEST = 10
"""The mean is taken over the last part of all steps so far, one of so many, while that is faster."""


def follow_smallest(threshold: Float[Tensor, ""], seen: Int[Tensor, ""], codes: Codes) -> None:
    """Move a threshold towards a batch's smallest kept activation, as the module says; `seen` counts the batches."""
    kept, together = codes.values[codes.values > 0], grid()
    smallest = float(kept.min()) if len(kept) else math.inf
    if together is not None:
        smallest = together.lowest(smallest)
    if math.isfinite(smallest):
        seen += 1
        threshold += max(SLOWEST, min(1.0, LATEST / int(seen))) * (smallest - threshold)


class BatchTopKConfig(AuxConfig):
    """What a BatchTopK dictionary is."""

    k: int = Field(32, gt=0)
    """Latents kept per row, on average over a batch."""


class BatchTopK(Autoencoder):
    """A BatchTopK dictionary; see the module's equation.

    Attributes:
        threshold: what activations must exceed outside training; float32.
        thresholds_seen: batches that it was taken from.
    """

    exact = ("threshold",)
    threshold: Tensor
    thresholds_seen: Tensor

    def __init__(self, config: BatchTopKConfig, metadata: Metadata | None = None, seed: int = 0) -> None:
        """Random start. Raises ConfigError where more latents are to be kept than there are."""
        if config.k > config.n_latents:
            name = type(config).__name__
            raise ConfigError(f"{name}.k = {config.k} is not valid: there are only {config.n_latents} latents.")
        super().__init__(config, metadata, seed)
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float32))
        self.register_buffer("thresholds_seen", torch.zeros((), dtype=torch.int64))

    def _activate(self, centred: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None) -> Codes:
        floor = self.threshold.clamp_min(0).to(centred.dtype).expand(self.n_latents)
        values, active = encode_entries(centred, None, self.W_enc, self.b_enc, floor, matmul_dtype)
        return Codes.from_entries(values, active).padded()

    def losses(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Losses:
        """Forward pass and loss terms; changes no state."""
        values, active = encode_batch(
            self._checked(x), self.input_bias, self.W_enc, self.b_enc, self.config.k, context.matmul_dtype
        )
        error, reconstruction = self._errors(x, values, active)
        residual = x - reconstruction
        variance = batch_variance(x)
        terms = {"mse": error / variance}
        auxiliary = auxiliary_error(self, x, residual.detach(), context)
        if auxiliary is not None:
            terms["aux"] = auxiliary * self.config.aux_coefficient / variance
        return losses_of(terms, Codes.from_entries(values.detach(), active), residual, variance)

    def _errors(
        self, x: Float[Tensor, "n d_in"], values: Float[Tensor, " entries"], active: Ragged
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "n d_in"]]:
        """The squared error to learn from, summed over rows, and the reconstruction."""
        reconstruction = decode_active(values, active, self.W_dec) + self.b_dec
        return (x - reconstruction).square().sum(), reconstruction

    def observe(self, codes: Codes) -> None:
        """Count silence, and move the threshold towards the batch's smallest kept activation."""
        super().observe(codes)
        follow_smallest(self.threshold, self.thresholds_seen, codes)

    def resample(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Int[Tensor, " latents"]:
        """Give silent latents a new start at the chosen points of the run."""
        return resample_towards_residuals(self, x, context, self.config.resample_at)

    def _first_codes(self, sample: Float[Tensor, "n d_in"]) -> Codes:
        """Codes as in training; their smallest is the first threshold."""
        values, active = encode_batch_top_k(sample - self.input_bias, self.W_enc, self.b_enc, self.config.k, None)
        self.threshold.copy_(values.min() if len(values) else torch.zeros(()))
        self.thresholds_seen.zero_()
        return Codes.from_entries(values, active)

    def _scale_codes(self, gain: float) -> None:
        super()._scale_codes(gain)
        self.threshold.mul_(gain)

    def _fold(self, scale: float) -> None:
        self.threshold.div_(scale)
