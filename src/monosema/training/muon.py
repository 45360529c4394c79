"""Muon (Jordan et al. 2024), for matrices whose rows may be divided among processes.

    v ← μ v + (1 − μ) g,   u = μ v + (1 − μ) g,   X = u / ‖u‖
    five times:  X ← X P,   P = a + b G + c G²,   G = XᵀX,   then   w ← w − 0.2 √max(m, d) γ X

The steps are those of `torch.optim.Muon` with ``match_rms_adamw``.

Departures. P commutes with G, so that the next step's G is P G P: all five steps are taken on d × d matrices, and X is
multiplied once, by the product of all P. G of the beginning is a sum over rows, the only thing that processes exchange.
That is a fifth of the products with X, so they are made in float32, where PyTorch's are in bf16: rounded to bf16, the
sums of one process and of several part at once, and each kind of processor takes a course of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.training.distribution import Mesh

MOMENTUM = 0.95
"""μ, as in `torch.optim.Muon`."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of a Newton–Schulz step, as in `torch.optim.Muon`."""
STEPS = 5
"""Newton–Schulz steps, as in `torch.optim.Muon`."""
LEAST = 1e-7
"""Smallest divisor of norms, as in `torch.optim.Muon`."""


class Muon(torch.optim.Optimizer):
    """Muon on this process's rows; see the module. Its state is that of `torch.optim.Muon`, of these rows."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, mesh: Mesh) -> None:
        """Take matrices; every process has equally many rows of each."""
        super().__init__(parameters, {"lr": lr})
        self._mesh = mesh

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one step; every process takes part."""
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
    """Return this process's rows of the nearly orthogonal matrix of the whole's Newton–Schulz steps, in float32."""
    a, b, c = COEFFICIENTS
    x = part.float()
    gram = mesh.sum_over_latents(x.T @ x)
    norm = gram.trace().sqrt().clamp_min(LEAST)  # ‖u‖² is the trace of uᵀu
    gram = gram / norm**2
    one = torch.eye(len(gram), device=gram.device)
    product = one / norm
    for _ in range(STEPS):
        factor = torch.addmm(torch.add(a * one, gram, alpha=b), gram, gram, alpha=c)
        product = product @ factor
        gram = factor @ gram @ factor
    return x @ product
