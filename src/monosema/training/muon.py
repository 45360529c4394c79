"""Muon (Jordan et al. 2024) for a matrix whose rows are divided among processes.

    v ← μ v + (1 − μ) g,   u = μ v + (1 − μ) g,   X = u / ‖u‖
    five times:  X ← a X + X (b G + c G²),   G = XᵀX,   then   w ← w − 0.2 √max(m, d) γ X

This is what `torch.optim.Muon` does to the whole matrix (Newton–Schulz steps in bf16, ``match_rms_adamw``), written
with XᵀX, a sum over rows. So no process needs the rows of others: they exchange five matrices of d × d numbers a step,
whatever the number of latents, and the products are divided among them as the rows are.

Departures. Sums over rows are made in float32 and rounded to bf16 afterwards, where one process rounds its product. For
matrices with fewer rows than columns PyTorch takes XXᵀ: the same by arithmetic, but rounded elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.training.distribution import Mesh

__all__ = ["MuonOfParts", "orthogonal_part"]

MOMENTUM = 0.95
"""μ, as in `torch.optim.Muon`."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of a Newton–Schulz step, as in `torch.optim.Muon`."""
STEPS = 5
"""Newton–Schulz steps, as in `torch.optim.Muon`."""
LEAST = 1e-7
"""Smallest norm that is divided by, as in `torch.optim.Muon`."""


class MuonOfParts(torch.optim.Optimizer):
    """Muon on this process's rows; see the module. What it remembers is what `torch.optim.Muon` remembers of them."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, mesh: Mesh) -> None:
        """Parameters are matrices; every process has equally many rows of each."""
        super().__init__(parameters, {"lr": lr})
        self._mesh = mesh

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; every process takes part."""
        for group in self.param_groups:
            for own in group["params"]:
                if own.grad is None:
                    continue
                state = self.state[own]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(own.grad)
                moving = state["momentum_buffer"].lerp_(own.grad, 1 - MOMENTUM)
                update = orthogonal_part(own.grad.lerp(moving, MOMENTUM), self._mesh)
                larger = max(len(own) * self._mesh.shards, own.shape[1])
                own.add_(update, alpha=-0.2 * larger**0.5 * group["lr"])


def orthogonal_part(part: Float[Tensor, "m_of_shard d"], mesh: Mesh) -> Float[Tensor, "m_of_shard d"]:
    """This process's rows of the nearly orthogonal matrix that the whole's Newton–Schulz steps lead to, in bf16."""
    a, b, c = COEFFICIENTS
    x = part.bfloat16()
    norm = mesh.sum_over_latents(x.float().square().sum()).sqrt().bfloat16()
    x = x / norm.clamp_min(LEAST)
    for _ in range(STEPS):
        of_part = x.float()
        gram = mesh.sum_over_latents(of_part.T @ of_part).bfloat16()
        x = torch.addmm(x, x, torch.addmm(gram, gram, gram, beta=b, alpha=c), beta=a)
    return x
