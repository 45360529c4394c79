"""L1 annealed towards L0 (Karvonen et al. 2024, arXiv:2408.00113).

    c = ReLU(W_enc (x − b_dec) + b_enc),   x̂ = W_decᵀ c + b_dec
    L = ‖x − x̂‖² + α_s Σ_i c_i^(p_s),   means over rows;   p falls from 1 to p_end in equal steps s

At each step of p the coefficient is set so that the penalty keeps its strength, from its mean over the last batches:
α_{s+1} = α_s Σ c^(p_s) / Σ c^(p_{s+1}). Rows of W_dec have norm 1; the part of their gradient along them is removed.

Departures. c^p is taken as (c + ε)^p − ε^p with a small ε, as the gradient of c^p grows without bound where c nears 0.
p begins to fall after the same share of the run as in the paper. Starts as for L1; nothing is resampled.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Losses, Metadata, StepContext
from monosema.dictionaries.rectified import Rectified, RectifiedConfig
from monosema.dictionaries.terms import batch_variance, losses_of, warm_up
from monosema.kernels import decode_active
from monosema.kernels.sharing import rows_of_part

RECENT = 10
"""Batches that the strength of the penalty is averaged over."""
SMALL = 1e-3
"""ε: activations well below it no longer count, in units where activations have a mean norm of √d."""


class PAnnealConfig(RectifiedConfig):
    """What a p-anneal dictionary is."""

    l1_coefficient: float = Field(5.0, ge=0)
    """α at the start, where p is 1."""
    p_end: float = Field(0.2, gt=0, le=1)
    """p at the end (2408.00113)."""
    p_steps: int = Field(10, gt=0)
    """Steps in which p falls."""
    anneal_after: float = Field(0.2, ge=0, lt=1)
    """Share of the run after which p begins to fall."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the run over which α rises linearly."""


class PAnneal(Rectified):
    """A p-anneal dictionary; see the module's equation.

    Attributes:
        stage: steps of p that are done.
        strength: α_s / α.
        recent: of the last batches, the penalty with this stage's p and with the next one's.
    """

    stage: Tensor
    strength: Tensor
    recent: Tensor

    def __init__(self, config: PAnnealConfig, metadata: Metadata | None = None, seed: int = 0) -> None:
        """Random start."""
        super().__init__(config, metadata, seed)
        self.register_buffer("stage", torch.zeros((), dtype=torch.int64))
        self.register_buffer("strength", torch.ones(()))
        self.register_buffer("recent", torch.zeros(RECENT, 2))

    def exponent(self, stage: int) -> float:
        """p of a stage."""
        return 1 + (self.config.p_end - 1) * min(stage, self.config.p_steps) / self.config.p_steps

    def losses(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Losses:
        """Forward pass and loss terms; changes no state."""
        pre, active = self._entries(x, context)
        codes = pre.relu()
        residual = x - (decode_active(codes, active, self.W_dec) + self.b_dec)
        n = max(1, rows_of_part(len(x)))
        alpha = self.strength * (self.config.l1_coefficient * warm_up(context, self.config.warmup) / n)
        terms = {
            "mse": residual.square().sum() / n,
            "lp": alpha * _power_sum(codes, self.exponent(int(self.stage))),
        }
        return losses_of(terms, Codes.from_entries(codes.detach(), active), residual, batch_variance(x))

    def observe(self, codes: Codes) -> None:
        """Count silence, and note how strong this stage's penalty is and the next one's would be."""
        super().observe(codes)
        stage = int(self.stage)
        now, then = (_power_sum(codes.values, self.exponent(s)) for s in (stage, stage + 1))
        self.recent.copy_(torch.cat([self.recent[1:], torch.stack([now, then]).unsqueeze(0)]))

    def resample(self, x: Float[Tensor, "n d_in"], context: StepContext) -> Int[Tensor, " latents"]:
        """After a step: go on to the next p where its time has come. No latent is given a new start."""
        after, steps = self.config.anneal_after, self.config.p_steps
        progress = ((context.step + 1) / context.steps - after) / (1 - after)
        if int(self.stage) < steps and progress >= (int(self.stage) + 1) / (steps + 1):
            now, then = self.recent.sum(dim=0)
            if then > 0:
                self.strength.mul_(now / then)
            self.stage += 1
            self.recent.zero_()
        return super().resample(x, context)


def _power_sum(codes: Tensor, p: float) -> Tensor:
    """Σ c^p, with a bounded gradient; Σ c where p is 1."""
    return codes.sum() if p == 1 else ((codes + SMALL) ** p - SMALL**p).sum()
