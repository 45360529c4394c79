"""ReLU under an L1 penalty that is annealed towards L0 (Karvonen et al. 2024, arXiv:2408.00113).

    c = ReLU(W_enc (x − b_dec) + b_enc),   x̂ = W_decᵀ c + b_dec
    L = ‖x − x̂‖² + α_s Σ_i c_i^(p_s),   means over rows;   p falls from 1 to p_end in equal steps s

At each step of p the coefficient is set so that the penalty keeps its strength, from its mean over the last batches:
α_{s+1} = α_s Σ c^(p_s) / Σ c^(p_{s+1}). Rows of W_dec have norm 1; the part of their gradient along them is removed.

Departures. c^p is taken as (c + ε)^p − ε^p with a small ε, as the gradient of c^p grows without bound where c nears 0.
p begins to fall after the same share of the run as in the paper. Starts as for L1; nothing is resampled.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from monosema.dictionaries.activation_functions.activation import Activated, Batch, register_activation
from monosema.dictionaries.activation_functions.rectified import Rectified
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Coder, StepContext

RECENT = 10
"""Batches that the strength of the penalty is averaged over."""
SMALL = 1e-3
"""ε: activations well below it no longer count, in units where activations have a mean norm of √d."""


@register_activation
class PAnneal(Rectified):
    """All above 0, under an annealed penalty; see the module's equation. The coder gets

    stage: steps of p that are done.
    strength: α_s / α.
    recent: of the last batches, the penalty with this stage's p and with the next one's.
    """

    name = "p_anneal"
    title = "p-anneal"
    kind = "relu"
    coefficient = "l1_coefficient"
    error_per = "row"

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

    def add_tensors(self, coder: Coder) -> None:
        """Add the state of the annealing."""
        coder.keep("stage", torch.zeros((), dtype=torch.int64))
        coder.keep("strength", torch.ones(()))
        coder.keep("recent", torch.zeros(RECENT, 2))

    def exponent(self, stage: int) -> float:
        """Compute p of a stage."""
        return 1 + (self.p_end - 1) * min(stage, self.p_steps) / self.p_steps

    def activate(self, coder: Coder, batch: Batch) -> Activated:
        """Compute what lies above 0, and the penalty of this stage."""
        pre, active = self.entries(coder, batch)
        codes = pre.relu()
        alpha = coder.own("strength") * (self.l1_coefficient * batch.context.warm_up(self.warmup) / batch.rows)
        penalty = alpha * _power_sum(codes, self.exponent(int(coder.own("stage"))))
        return Activated(codes, active, {"lp": penalty})

    def observe(self, coder: Coder, codes: Codes, context: StepContext) -> None:
        """Note how strong this stage's penalty is and the next one's would be; go on to the next p at its time."""
        stage, recent = int(coder.own("stage")), coder.own("recent")
        now, then = (_power_sum(codes.values, self.exponent(s)) for s in (stage, stage + 1))
        recent.copy_(torch.cat([recent[1:], torch.stack([now, then]).unsqueeze(0)]))
        self._go_on(coder, context)

    def _go_on(self, coder: Coder, context: StepContext) -> None:
        """Take the next p where its time has come."""
        stage, recent = coder.own("stage"), coder.own("recent")
        progress = ((context.step + 1) / context.steps - self.anneal_after) / (1 - self.anneal_after)
        if int(stage) < self.p_steps and progress >= (int(stage) + 1) / (self.p_steps + 1):
            now, then = recent.sum(dim=0)
            if then > 0:
                coder.own("strength").mul_(now / then)
            stage += 1
            recent.zero_()


def _power_sum(codes: Tensor, p: float) -> Tensor:
    """Σ c^p, with a bounded gradient; Σ c where p is 1."""
    return codes.sum() if p == 1 else ((codes + SMALL) ** p - SMALL**p).sum()
