"""What dictionaries over several sites share: a row holds what they read and what they write.

    z = W_enc (x − b) + b_enc,   c = activation(z),   ŷ = W_decᵀ c + b_dec (+ W_skip x)

    topk   c = ReLU(top-k(z)),   L = (‖y − ŷ‖² + α ‖e − ê‖²) / Σ ‖y − ȳ‖²      rows of W_dec have norm 1
    relu   c = ReLU(z),          L = ‖y − ŷ‖² + λ Σ_i c_i ‖W_dec,i‖, means over rows      free norms

The auxiliary term is TopK's (`auxiliary`, Gao et al. 2024); the penalty is that of L1's recipe of 2024, and rises over
the first twentieth of the run. ‖W_dec,i‖ is what the architecture says: over several sites written to, the sum of the
norms at each (Lindsey et al. 2024).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.core import ConfigError
from monosema.dictionaries.autoencoder import Autoencoder
from monosema.dictionaries.auxiliary import AuxConfig, auxiliary_error
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Losses, Metadata, Moment
from monosema.dictionaries.rectified import sparse_start
from monosema.dictionaries.terms import batch_variance, losses_of, warm_up
from monosema.kernels import decode_active, decode_codes, encode_above, encode_active, encode_codes, encode_top_k

__all__ = ["SeveralSites", "SeveralSitesConfig"]

WARM_UP = 0.05
"""Share of the run over which the penalty rises."""


class SeveralSitesConfig(AuxConfig):
    """What a dictionary over several sites is."""

    activation: Literal["topk", "relu"] = "topk"
    """The k largest of each row, or all above 0 under an L1 penalty."""
    k: int = Field(32, gt=0)
    """Latents kept per row, with topk."""
    l1_coefficient: float = Field(5.0, ge=0)
    """λ, with relu; as in L1 for rows of mean norm √width."""
    start_l0: float | None = Field(32.0, gt=0)
    """Active latents a row at the start, with relu, as in L1; None starts with biases that leave half active."""


class SeveralSites(Autoencoder):
    """A dictionary over several sites; see the module's equation."""

    def __init__(self, config: SeveralSitesConfig, metadata: Metadata | None = None, seed: int = 0) -> None:
        """Random start. Raises ConfigError where more latents are to be kept than there are."""
        if config.activation == "topk" and config.k > config.n_latents:
            kind = type(config).__name__
            raise ConfigError(f"{kind}.k = {config.k} is not valid: there are only {config.n_latents} latents.")
        super().__init__(config, metadata, seed)

    @abstractmethod
    def sides(self, rows: Float[Tensor, "n row_width"]) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "n d_out"]]:
        """What is read of rows of the training stream, and what is to be written."""

    @abstractmethod
    def _decoder_norms(self) -> Float[Tensor, " n_latents"]:
        """The weight of each latent in the penalty."""

    def _skipped(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"] | None:
        """What reaches the output past the latents."""
        return None

    @property
    def _unit(self) -> bool:
        """Whether decoder rows have norm 1."""
        return bool(self.config.activation == "topk")

    def _activate(self, centred: Float[Tensor, "n d_in"], product: torch.dtype | None) -> Codes:
        if self.config.activation == "topk":
            values, indices = encode_top_k(centred, self.encoder, self.encoder_bias, self.config.k, product)
            return Codes(values, indices, self.n_latents)
        entries, active = encode_above(centred, self.encoder, self.encoder_bias, None, product)
        return Codes.from_entries(entries, active).padded()

    def losses(self, x: Float[Tensor, "n row_width"], moment: Moment) -> Losses:
        """Forward pass and loss terms of rows of the training stream; changes no state."""
        read, wanted = self.sides(x)
        skipped = self._skipped(read)
        wanted = wanted if skipped is None else wanted - skipped
        if self.config.activation == "topk":
            return self._largest(read, wanted, batch_variance(self.sides(x)[1]), moment)
        return self._rectified(read, wanted, batch_variance(self.sides(x)[1]), moment)

    def _largest(
        self, x: Float[Tensor, "n d_in"], wanted: Float[Tensor, "n d_out"], variance: Float[Tensor, ""], moment: Moment
    ) -> Losses:
        arguments = (self.input_bias, self.encoder, self.encoder_bias, self.config.k, moment.product)
        values, selection = encode_codes(x, *arguments)
        residual = wanted - (decode_codes(values, selection, self.decoder) + self.decoder_bias)
        terms = {"mse": residual.square().sum() / variance}
        auxiliary = auxiliary_error(self, x, residual.detach(), moment)
        if auxiliary is not None:
            terms["aux"] = auxiliary * self.config.aux_coefficient / variance
        return losses_of(terms, Codes(values.detach(), selection.indices, self.n_latents), residual, variance)

    def _rectified(
        self, x: Float[Tensor, "n d_in"], wanted: Float[Tensor, "n d_out"], variance: Float[Tensor, ""], moment: Moment
    ) -> Losses:
        pre, active = encode_active(x, self.input_bias, self.encoder, self.encoder_bias, None, moment.product)
        codes, n = pre.relu(), max(1, len(x))
        residual = wanted - (decode_active(codes, active, self.decoder) + self.decoder_bias)
        weight = self.config.l1_coefficient * warm_up(moment, WARM_UP) / n
        terms = {
            "mse": residual.square().sum() / n,
            "l1": (codes * active.spread(self._decoder_norms())).sum() * weight,
        }
        return losses_of(terms, Codes.from_entries(codes, active), residual, variance)

    def project_gradients(self) -> None:
        """With topk: remove from the gradient of each decoder row the part along it."""
        if self._unit:
            super().project_gradients()

    def constrain(self) -> None:
        """With topk: scale decoder rows to norm 1."""
        if self._unit:
            super().constrain()

    def _fit_start(self, sample: Float[Tensor, "n row_width"]) -> None:
        read, _ = self.sides(sample)
        if self.config.activation == "relu" and self.config.start_l0 is not None:
            self.encoder_bias.sub_(sparse_start(self, read, self.config.start_l0))
        super()._fit_start(sample)

    def _best_gain(self, sample: Float[Tensor, "n row_width"]) -> float:
        read, wanted = self.sides(sample)
        given = self(read) - self.decoder_bias
        size = given.square().sum().clamp_min(torch.finfo(sample.dtype).tiny)
        gain = float(((wanted - self.decoder_bias) * given).sum() / size)
        return gain if gain > 0 else 1.0
