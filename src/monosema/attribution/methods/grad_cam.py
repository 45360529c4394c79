"""Grad-CAM, carried over from images to decoders (Selvaraju et al. 2017, arXiv:1610.02391).

    α_d = mean over positions of ∂F/∂x_{pos,d},      φ_pos = max(0, Σ_d α_d x_{pos,d})

x is the residual stream after a block: its dimensions are the channels, and positions are the places. In the last block
only the answer's position has a gradient, and in the first all is as at the embeddings, so the block in the middle is
taken. Every position has one weight for each dimension, whatever it holds: what is averaged over places in an image is
alike there, and here it is not, which is why the map is coarse.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monosema.attribution.game import Game
from monosema.attribution.methods.method import GRADIENT, Scores, register_method
from monosema.attribution.players import need_tokens
from monosema.core import InputError, Site, UnsupportedModelError
from monosema.models import Transformer


@dataclass(frozen=True)
class GradCam:
    """Grad-CAM.

    Attributes:
        name, about, family, default: see `Method`.
        layer: the block after which the stream is read; None for the middle.
    """

    name: str = "grad_cam"
    about: str = "the stream in the middle, weighted by its mean gradient"
    family: str = GRADIENT
    default: bool = False
    layer: int | None = None

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score players that are tokens; nothing is drawn.

        Raises:
            UnsupportedModelError: a model of another library.
            InputError: a layer that there is not.
        """
        players, model = need_tokens(game.players, self.name), game.model
        if not isinstance(model, Transformer):
            raise UnsupportedModelError(f"{self.name} reads the residual stream, which is no site of {model.name!r}.")
        layer = (model.n_layers - 1) // 2 if self.layer is None else self.layer
        if not 0 <= layer < model.n_layers:
            raise InputError(f"layer = {layer} is not valid: the model has 0 to {model.n_layers - 1}.")
        site = Site(layer, "resid_post")
        with torch.enable_grad(), model.capture(site, gradients=True) as got:
            value = game.value(players.absent(torch.ones(1, len(game), dtype=torch.bool, device=model.device)))
            (slope,) = torch.autograd.grad(value.sum(), got[site])
        game.rows += 2
        n = len(game.question.ids)
        weights = slope[0, :n].mean(0)
        return Scores(players.by_player((got[site].detach()[0, :n] @ weights).clamp(min=0)))


register_method(GradCam())
