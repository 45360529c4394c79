"""Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365): gradients along the way from absent to present.

    φ_i = ∫₀¹ ∂F/∂c_i (c = α · 1) dα

The integral is a Gauss–Legendre sum. By the fundamental theorem of calculus the scores sum to F(all) − F(none); the gap
that is left says whether the steps were enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from monosema.attribution.game import Game
from monosema.attribution.methods.method import GRADIENT, Scores, register_method


@dataclass(frozen=True)
class IntegratedGradients:
    """Integrated gradients.

    Attributes:
        name, about, family, default: see `Method`.
        steps: nodes of the sum.
    """

    name: str = "integrated_gradients"
    about: str = "gradient, averaged along the way from absent to present"
    family: str = GRADIENT
    default: bool = True
    steps: int = 50

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score all players; nothing is drawn."""
        nodes, weights = np.polynomial.legendre.leggauss(self.steps)
        at = torch.tensor((nodes + 1) / 2, dtype=torch.float32)[:, None].expand(-1, len(game))
        _, slopes = game.gradient(at)
        return Scores((torch.tensor(weights / 2)[:, None] * slopes.double()).sum(0).float(), complete=True)


register_method(IntegratedGradients())
