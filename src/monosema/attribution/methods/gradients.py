"""Gradients at the prompt itself.

    gradient          φ_i = ‖∂F/∂e_i‖₂                    size of the gradient, no sign (Simonyan et al. 2014)
    gradient_input    φ_i = (e_i − e⁰_i) · ∂F/∂e_i        first-order estimate of what removal does
    smooth_grad       the same with the mean gradient at embeddings with noise (Smilkov et al. 2017, arXiv:1706.03825)

e⁰ is what stands for an absent player; under the removal `zero` the second is the classical gradient × input, and of
latents, heads and neurons it is attribution patching. The noise of the third is normal, its standard deviation a share
of the range of the prompt's embeddings, as published.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.attribution.game import Game
from monosema.attribution.methods.method import GRADIENT, Scores, register_method
from monosema.attribution.players import Pass, Tokens, need_tokens
from monosema.core import Site, UnsupportedModelError, torch_generator
from monosema.models import Transformer


@dataclass(frozen=True)
class Gradient:
    """Norm of the gradient at the embeddings of a player's tokens, summed over them."""

    name: str = "gradient"
    about: str = "size of the gradient at each token"
    family: str = GRADIENT
    default: bool = False

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score players that are tokens; nothing is drawn."""
        players = need_tokens(game.players, self.name)
        slopes = embedding_gradients(game, players, embeddings(game)[None])
        return Scores(players.by_player(slopes[0].norm(dim=-1)))


@dataclass(frozen=True)
class GradientInput:
    """Gradient × (input − what stands for it): ∂F/∂c with all players present."""

    name: str = "gradient_input"
    about: str = "gradient times what removal takes away"
    family: str = GRADIENT
    default: bool = True

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score all players; nothing is drawn."""
        _, slopes = game.gradient(torch.ones(1, len(game)))
        return Scores(slopes[0])


@dataclass(frozen=True)
class SmoothGrad:
    """Gradient × (input − what stands for it) with the mean gradient over draws of noise.

    Attributes:
        name, about, family, default: see `Method`.
        draws: copies of the prompt with noise.
        noise: standard deviation, as a share of the range of the embeddings.
    """

    name: str = "smooth_grad"
    about: str = "gradient averaged over noise at the embeddings"
    family: str = GRADIENT
    default: bool = False
    draws: int = 32
    noise: float = 0.15

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score players that are tokens, with standard errors over draws."""
        players = need_tokens(game.players, self.name)
        clean, absent = embeddings(game), baseline(game, players, self.name)
        size = self.noise * float(clean.max() - clean.min())
        drawn = torch.randn(self.draws, *clean.shape, generator=torch_generator(seed, self.name)).to(clean)
        slopes = embedding_gradients(game, players, clean + size * drawn)
        by_draw = torch.stack([players.by_player(one) for one in ((clean - absent) * slopes).sum(-1)])
        errors = by_draw.std(0) / math.sqrt(self.draws) if self.draws > 1 else None
        return Scores(by_draw.mean(0), errors=errors)


def embeddings(game: Game) -> Float[Tensor, "pos d_model"]:
    """Return the embeddings of the prompt. Raises UnsupportedModelError for a model of another library."""
    if not isinstance(game.model, Transformer):
        raise UnsupportedModelError(
            f"{game.model.name!r} runs by another library, whose embeddings are not a site: gradients need a model of "
            "a family that is read into our own decoder (see docs/models.md)."
        )
    ids = torch.tensor([game.question.ids], device=game.model.device)
    return game.model.activations(ids, ["embed"])["embed"][0]


def baseline(game: Game, players: Tokens, method: str) -> Float[Tensor, "pos d_model"]:
    """Return the embeddings that stand for absent tokens. Raises UnsupportedModelError where a mask hides them."""
    vectors = players.stand_ins.vectors
    if vectors is None:
        raise UnsupportedModelError(
            f"{method} compares embeddings with those that stand for absent tokens, and a mask puts none there: take "
            "the removal twin, mean, zero or unknown."
        )
    return vectors.to(embeddings(game))


def embedding_gradients(
    game: Game, players: Tokens, versions: Float[Tensor, "m pos d_model"]
) -> Float[Tensor, "m pos d_model"]:
    """Return ∂F/∂e at versions of the prompt's embeddings."""
    found = []
    for chunk in versions.split(game.rows_at_once(backward=True)):
        x = chunk.detach().clone().requires_grad_()

        def put(own: Tensor, _: object, x: Tensor = x) -> Tensor:
            return torch.cat([x.to(own.dtype), own[:, x.shape[1] :]], dim=1)

        with torch.enable_grad(), game.within_memory():
            value = game.value(Pass(players.ids.expand(len(x), -1), None, [(Site(None, "embed"), put)]))
            (slope,) = torch.autograd.grad(value.sum(), x)
        game.rows += 2 * len(chunk)
        found.append(slope)
    return torch.cat(found)


register_method(Gradient())
register_method(GradientInput())
register_method(SmoothGrad())
