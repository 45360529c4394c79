"""Counterfactual flips: the fewest players, taken out one after another, with which the answer becomes the other one.

At each step the player whose removal lowers F the most goes, until F is below 0 (the foil is likelier than the target)
or none lowers it. A player's score is the fall of F at its step; those that stay score 0. The search is greedy: a
smaller set may exist.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monosema.attribution.game import Game
from monosema.attribution.methods.method import BLACK_BOX, Scores, register_method
from monosema.attribution.question import Contrast
from monosema.core import UnsupportedModelError


@dataclass(frozen=True)
class Flips:
    """Counterfactual flips."""

    name: str = "flips"
    about: str = "fewest players without which the other answer wins"
    family: str = BLACK_BOX
    default: bool = False

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score the players that were taken out; notes say how many, and whether the answer flipped.

        Raises UnsupportedModelError for a question without a foil.
        """
        if not isinstance(game.question.target, Contrast):
            raise UnsupportedModelError(f"{self.name} needs two answers, so that one can win over the other.")
        present, value = torch.ones(len(game), dtype=torch.bool), game.full
        scores = torch.zeros(len(game))
        while value >= 0 and bool(present.any()):
            left = present.nonzero()[:, 0]
            tried = present.repeat(len(left), 1)
            tried[torch.arange(len(left)), left] = False
            values = game(tried)
            best = int(values.argmin())
            if float(values[best]) >= value:
                break
            player = int(left[best])
            scores[player], value, present[player] = value - float(values[best]), float(values[best]), False
        return Scores(scores, notes={"taken out": float((~present).sum()), "flipped": float(value < 0)})


register_method(Flips())
