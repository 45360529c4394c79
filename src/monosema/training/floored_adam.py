"""Adam that takes no longer steps for latents that fire rarely than for others.

    v ← max(v, (ρ v̄)²),   v̄ = mean over latents of √v, for each place in a row;   then Adam's step

Adam divides a latent's mean gradient by √v, the root of its mean square (Kingma and Ba 2014). Of a latent that fires
rarely v is near 0, so each of its few gradients would be worth several full steps, and throw it to where it never fires
again. With v no smaller than that of latents in general, such steps are as short as its gradients are few. Nothing in
it depends on the loss's units, on the batch or on the number of latents, and latents that fire as often as others take
Adam's own steps: ε, which could hold back the rare ones too, would be a bet on the size of gradients.

A silent latent keeps the v that it was raised to, so one that starts anew has what others have.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.training.distribution import Mesh

SHARE = 0.7
"""ρ, as measured by `benchmarks/step_size.py`; metrics are in benchmarks/results/frontier.md."""
EVERY = 8
"""Steps between two checks of v, which hardly decays in so many."""
EPSILON = 1e-12
"""ε, only so that 0 is not divided by."""
BLOCK = 1024
"""Rows that are read together, to bound memory."""


class FlooredAdam(torch.optim.Adam):
    """Adam with a floor under its mean squares; see the module. Its state is that of `torch.optim.Adam`."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, betas: tuple[float, float], mesh: Mesh) -> None:
        """Take parameters whose first dimension is latents, which processes may share."""
        super().__init__(parameters, lr=lr, betas=betas, eps=EPSILON, fused=True)
        self._mesh = mesh

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one step; every process takes part."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state.get(parameter)
                if state and (state["step"] < EVERY or state["step"] % EVERY == 0):
                    self._raise(state["exp_avg_sq"])
        super().step()

    def _raise(self, squares: Float[Tensor, "n_latents ..."]) -> None:
        total = torch.stack([block.sqrt().sum(dim=0) for block in squares.split(BLOCK)]).sum(dim=0)
        mean = self._mesh.sum_over_latents(total) / (len(squares) * self._mesh.shards)
        torch.maximum(squares, (SHARE * mean).square(), out=squares)
