"""What dictionaries over several sites share: a row holds what they read and what they write.

    z = W_enc (x − b) + b_enc,   c = activation(z),   ŷ = W_decᵀ c + b_dec (+ W_skip x)

    topk   c = ReLU(top-k(z)),   L = (‖y − ŷ‖² + α ‖e − ê‖²) / Σ ‖y − ȳ‖²      rows of W_dec have norm 1
    batch_topk   c = the n · k largest of ReLU(z) over all n rows, L and norms as for topk
    relu   c = ReLU(z),          L = ‖y − ŷ‖² + λ Σ_i c_i ‖W_dec,i‖, means over rows      free norms
    jumprelu   c = z ⊙ 1[z > θ],   L = (‖y − ŷ‖² / s² + λ₀ ‖c‖₀), means over rows, s² = mean ‖y − ȳ‖²      norm 1

The auxiliary term is TopK's (`auxiliary`, Gao et al. 2024); the penalty is that of L1's recipe of 2024, and rises over
the first twentieth of the run. Outside training batch_topk keeps what lies above a threshold that training followed, as
in `batch_topk` (Bussmann et al. 2024). ‖W_dec,i‖ is what the architecture says: over several sites written to, the sum
of the norms at each (Lindsey et al. 2024). Thresholds learn as in `jumprelu` (Rajamanoharan et al. 2024).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from monosema.core import ConfigError
from monosema.dictionaries.autoencoder import GAIN_ROWS, Autoencoder
from monosema.dictionaries.auxiliary import AuxConfig, auxiliary_error
from monosema.dictionaries.batch_topk import follow_smallest
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.jumprelu import above, jump
from monosema.dictionaries.protocol import Losses, Metadata, StepContext
from monosema.dictionaries.rectified import sparse_start
from monosema.dictionaries.terms import batch_variance, losses_of, warm_up
from monosema.kernels import (
    decode_active,
    decode_codes,
    encode_active,
    encode_batch,
    encode_codes,
    encode_entries,
)

KEEP_LARGEST = ("topk", "batch_topk")
"""Activations whose sparsity is set by k."""
WARM_UP = 0.05
"""Share of the run over which the penalty rises."""


class SeveralSitesConfig(AuxConfig):
    """What a dictionary over several sites is."""

    activation: Literal["topk", "batch_topk", "relu", "jumprelu"] = "topk"
    """The k largest of each row, the n · k largest of a batch, all above 0 under an L1 penalty, or those above
    thresholds under an L0 penalty."""
    k: int = Field(32, gt=0)
    """Latents kept per row, with topk; on average over a batch, with batch_topk."""
    l1_coefficient: float = Field(5.0, ge=0)
    """λ, with relu; as in L1 for rows of mean norm √width."""
    l0_coefficient: float = Field(6e-4, ge=0)
    """λ₀, with jumprelu: the share of variance that one more active latent must explain."""
    bandwidth: float = Field(0.02, gt=0)
    """Width of the straight-through estimator in units of s, with jumprelu."""
    start_l0: float | None = Field(32.0, gt=0)
    """Active latents a row at the start, with relu and jumprelu, as in L1; None starts with biases and thresholds that
    leave half active."""


class SeveralSites(Autoencoder):
    """A dictionary over several sites; see the module's equation.

    Attributes:
        threshold: float32, in units of z: θ of jumprelu, or what activations must exceed outside training with
            batch_topk; None otherwise.
        thresholds_seen: with batch_topk, the batches that it was taken from.
    """

    exact = ("threshold",)
    threshold: Tensor | None
    thresholds_seen: Tensor

    def __init__(self, config: SeveralSitesConfig, metadata: Metadata | None = None, seed: int = 0) -> None:
        """Random start. Raises ConfigError where more latents are to be kept than there are."""
        if config.activation in KEEP_LARGEST and config.k > config.n_latents:
            kind = type(config).__name__
            raise ConfigError(f"{kind}.k = {config.k} is not valid: there are only {config.n_latents} latents.")
        super().__init__(config, metadata, seed)
        self._before_step: Tensor | None = None
        if config.activation == "batch_topk":
            self.register_buffer("threshold", torch.zeros((), dtype=torch.float32))
            self.register_buffer("thresholds_seen", torch.zeros((), dtype=torch.int64))
        else:
            jumps = config.activation == "jumprelu"
            self.threshold = nn.Parameter(torch.zeros(self.n_latents, dtype=torch.float32)) if jumps else None

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
        return bool(self.config.activation != "relu")

    @property
    def _averaged(self) -> tuple[Tensor, ...]:
        """What latents with a new start take from living ones."""
        return () if self._learned is None else (self._learned, self.b_enc)

    @property
    def _learned(self) -> Tensor | None:
        """The thresholds that the optimiser changes."""
        return self.threshold if self.config.activation == "jumprelu" else None

    def _floor(self) -> Float[Tensor, " n_latents"] | None:
        if self.threshold is None:
            return None
        return self.threshold.detach().clamp_min(0).to(self.W_enc.dtype).expand(self.n_latents)

    def _activate(self, centred: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None) -> Codes:
        if self.config.activation == "topk":
            values, selection = encode_codes(centred, None, self.W_enc, self.b_enc, self.config.k, matmul_dtype)
            return Codes(values, selection.indices, self.n_latents)
        entries, active = encode_entries(centred, None, self.W_enc, self.b_enc, self._floor(), matmul_dtype)
        return Codes.from_entries(entries, active).padded()

    def losses(self, x: Float[Tensor, "n row_width"], context: StepContext) -> Losses:
        """Forward pass and loss terms of rows of the training stream; changes no state."""
        read, wanted = self.sides(x)
        skipped = self._skipped(read)
        wanted = wanted if skipped is None else wanted - skipped
        kinds = {
            "topk": self._largest,
            "batch_topk": self._largest_of_batch,
            "relu": self._rectified,
            "jumprelu": self._jumping,
        }
        return kinds[self.config.activation](read, wanted, batch_variance(self.sides(x)[1]), context)

    def _largest(
        self,
        x: Float[Tensor, "n d_in"],
        wanted: Float[Tensor, "n d_out"],
        variance: Float[Tensor, ""],
        context: StepContext,
    ) -> Losses:
        arguments = (self.input_bias, self.W_enc, self.b_enc, self.config.k, context.matmul_dtype)
        values, selection = encode_codes(x, *arguments)
        residual = wanted - (decode_codes(values, selection, self.W_dec) + self.b_dec)
        codes = Codes(values.detach(), selection.indices, self.n_latents)
        return self._with_auxiliary(x, residual, codes, variance, context)

    def _largest_of_batch(
        self,
        x: Float[Tensor, "n d_in"],
        wanted: Float[Tensor, "n d_out"],
        variance: Float[Tensor, ""],
        context: StepContext,
    ) -> Losses:
        arguments = (self.input_bias, self.W_enc, self.b_enc, self.config.k, context.matmul_dtype)
        values, active = encode_batch(x, *arguments)
        residual = wanted - (decode_active(values, active, self.W_dec) + self.b_dec)
        return self._with_auxiliary(x, residual, Codes.from_entries(values.detach(), active), variance, context)

    def _with_auxiliary(
        self,
        x: Float[Tensor, "n d_in"],
        residual: Float[Tensor, "n d_out"],
        codes: Codes,
        variance: Float[Tensor, ""],
        context: StepContext,
    ) -> Losses:
        terms = {"mse": residual.square().sum() / variance}
        auxiliary = auxiliary_error(self, x, residual.detach(), context)
        if auxiliary is not None:
            terms["aux"] = auxiliary * self.config.aux_coefficient / variance
        return losses_of(terms, codes, residual, variance)

    def _rectified(
        self,
        x: Float[Tensor, "n d_in"],
        wanted: Float[Tensor, "n d_out"],
        variance: Float[Tensor, ""],
        context: StepContext,
    ) -> Losses:
        pre, active = encode_active(x, self.input_bias, self.W_enc, self.b_enc, None, context.matmul_dtype)
        codes, n = pre.relu(), max(1, len(x))
        residual = wanted - (decode_active(codes, active, self.W_dec) + self.b_dec)
        weight = self.config.l1_coefficient * warm_up(context, WARM_UP) / n
        terms = {
            "mse": residual.square().sum() / n,
            "l1": (codes * active.spread(self._decoder_norms())).sum() * weight,
        }
        return losses_of(terms, Codes.from_entries(codes.detach(), active), residual, variance)

    def _jumping(
        self,
        x: Float[Tensor, "n d_in"],
        wanted: Float[Tensor, "n d_out"],
        variance: Float[Tensor, ""],
        context: StepContext,
    ) -> Losses:
        n = max(1, len(x))
        width = self.config.bandwidth * float((variance / n).sqrt())
        learned: Any = self.threshold
        floor = (learned.detach() - width / 2).clamp_min(0).to(x.dtype)
        pre, active = encode_active(x, self.input_bias, self.W_enc, self.b_enc, floor, context.matmul_dtype)
        pre = pre.relu()
        threshold = active.spread(learned).expand_as(pre)
        codes = jump(pre, threshold, width)
        residual = wanted - (decode_active(codes, active, self.W_dec) + self.b_dec)
        weight = self.config.l0_coefficient * warm_up(context, WARM_UP) / n
        terms = {"mse": residual.square().sum() / variance, "l0": above(pre, threshold, width).sum() * weight}
        return losses_of(terms, Codes.from_entries(codes.detach(), active), residual, variance)

    def project_gradients(self) -> None:
        """But for relu: remove from the gradient of each decoder row the part along it."""
        if self._unit:
            super().project_gradients()
        self._before_step = None if self._learned is None else self._learned.detach().clone()

    def constrain(self) -> None:
        """But for relu: scale decoder rows to norm 1. The step of thresholds is made longer as in `jumprelu`."""
        if self._unit:
            super().constrain()
        if self._learned is not None:
            with torch.no_grad():
                if self._before_step is not None:
                    self._learned.add_(self._learned - self._before_step, alpha=self.d_in**0.5 - 1)
                self._learned.clamp_min_(0)

    def observe(self, codes: Codes) -> None:
        """Count silence; with batch_topk, move the threshold."""
        super().observe(codes)
        if self.config.activation == "batch_topk" and self.threshold is not None:
            follow_smallest(self.threshold, self.thresholds_seen, codes)

    def _fit_start(self, sample: Float[Tensor, "n row_width"]) -> None:
        read, _ = self.sides(sample)
        if self.config.activation not in KEEP_LARGEST and self.config.start_l0 is not None:
            self._start_sparse(read)
        if self.config.activation == "batch_topk":
            self._start_threshold(read)
        super()._fit_start(sample)

    def _start_sparse(self, read: Float[Tensor, "n d_in"]) -> None:
        """Set biases, or thresholds, to what leaves `start_l0` latents active."""
        # Without a centre of its own, the encoder's bias already stands for the mean.
        centred = read if self.centres_input else read - read.mean(dim=0)
        levels = sparse_start(self, centred, self.config.start_l0)
        if self.threshold is None:
            self.b_enc.sub_(levels)
        else:
            self.threshold.copy_(levels)

    def _start_threshold(self, read: Float[Tensor, "n d_in"]) -> None:
        """The smallest activation that training would keep of these rows."""
        values, _ = encode_batch(read[:GAIN_ROWS], self.input_bias, self.W_enc, self.b_enc, self.config.k, None)
        if self.threshold is not None:
            self.threshold.copy_(values.min() if len(values) else torch.zeros(()))
            self.thresholds_seen.zero_()

    def _scale_codes(self, gain: float) -> None:
        super()._scale_codes(gain)
        if self.threshold is not None:
            self.threshold.mul_(gain)

    def _best_gain(self, sample: Float[Tensor, "n row_width"]) -> float:
        read, wanted = self.sides(sample)
        given = self(read) - self.b_dec
        size = given.square().sum().clamp_min(torch.finfo(sample.dtype).tiny)
        gain = float(((wanted - self.b_dec) * given).sum() / size)
        return gain if gain > 0 else 1.0
