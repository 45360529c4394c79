"""LIME: the weights of a linear model of F near the whole prompt (Ribeiro et al. 2016, arXiv:1602.04938).

    min_φ Σ_S π(S) (F(S) − φ₀ − Σ_{i∈S} φ_i)² + λ ‖φ‖²,      π(S) = exp(−(1 − √(|S|/n))² / 2σ²)

Sets are drawn as published for text: a size uniformly, then players; the distance is one less the cosine of a set with
the whole prompt. Defaults are those of the reference implementation: σ = 0.25, λ = 1. Scores need not sum to anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monosema.attribution.game import Game
from monosema.attribution.methods.method import BLACK_BOX, Scores, register_method
from monosema.attribution.methods.shapley import SETS
from monosema.core import torch_generator


@dataclass(frozen=True)
class Lime:
    """LIME.

    Attributes:
        name, about, family, default: see `Method`.
        sets: sets of players that are tried.
        width: σ of the kernel.
        penalty: λ of the ridge.
    """

    name: str = "lime"
    about: str = "weights of a linear fit to drawn sets of players"
    family: str = BLACK_BOX
    default: bool = False
    sets: int = SETS
    width: float = 0.25
    penalty: float = 1.0

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score all players; the note is the share of the weighted variance that the linear model explains."""
        from sklearn.linear_model import Ridge

        n, generator = len(game), torch_generator(seed, self.name)
        removed = torch.randint(1, n + 1, (self.sets - 1,), generator=generator)
        ranks = torch.rand(self.sets - 1, n, generator=generator).argsort(1).argsort(1)
        present = torch.cat([torch.ones(1, n, dtype=torch.bool), ranks >= removed[:, None]])
        weights = torch.exp(-((1 - (present.float().mean(1)).sqrt()) ** 2) / (2 * self.width**2)).numpy()
        inputs, values = present.double().numpy(), game(present).double().numpy()
        fit = Ridge(alpha=self.penalty).fit(inputs, values, sample_weight=weights)
        explained = float(fit.score(inputs, values, sample_weight=weights))
        return Scores(torch.tensor(fit.coef_).float(), notes={"variance explained": explained})


register_method(Lime())
