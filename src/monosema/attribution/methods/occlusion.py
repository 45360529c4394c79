"""Occlusion: the fall of F when one player is taken out (leave one out; Zeiler & Fergus 2014, Li et al. 2016).

φ_i = F(all) − F(all but i)
"""

from __future__ import annotations

from dataclasses import dataclass

from monosema.attribution.game import Game
from monosema.attribution.methods.method import BLACK_BOX, Scores, register_method


@dataclass(frozen=True)
class Occlusion:
    """One forward pass a player."""

    name: str = "occlusion"
    about: str = "fall of the answer without one player"
    family: str = BLACK_BOX
    default: bool = True

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score all players; nothing is drawn."""
        return Scores(game.full - game(game.without_each()))


register_method(Occlusion())
