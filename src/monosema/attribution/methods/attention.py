"""Attention as an attribution: where the position that answers looks, straight or through all layers.

    raw_attention   mean over layers and heads of the answer's row of the pattern
    rollout         the answer's row of Π_l ½ (A_l + 1), A_l the mean over heads
    flow            the largest flow from the answer to each token, through edges of capacity ½ (A_l + 1)

Source of the last two: Abnar & Zuidema 2020, arXiv:2005.00928. None looks at what is read, or at the answer: they say
nothing about this token rather than that one, and hold no sign. For a completion rows are averaged over its tokens.
Special tokens, which take up much attention, have no score.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.attribution.game import Game
from monosema.attribution.methods.method import ATTENTION, Scores, register_method
from monosema.attribution.players import need_tokens
from monosema.core import Site, UnsupportedModelError

_SCALE = 10**6
"""Capacities are whole numbers of this part."""
_LONGEST = 128
"""Tokens beyond which the flow takes minutes."""


@dataclass(frozen=True)
class RawAttention:
    """Mean over layers and heads."""

    name: str = "raw_attention"
    about: str = "where the answer looks, mean over all heads"
    family: str = ATTENTION
    default: bool = False

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score players that are tokens; nothing is drawn."""
        players, layers = need_tokens(game.players, self.name), patterns(game, self.name)
        return Scores(players.by_player(answering(game, layers.mean(0))))


@dataclass(frozen=True)
class Rollout:
    """Attention multiplied through the layers, with the residual stream."""

    name: str = "rollout"
    about: str = "attention followed through all layers"
    family: str = ATTENTION
    default: bool = True

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score players that are tokens; nothing is drawn."""
        players, layers = need_tokens(game.players, self.name), patterns(game, self.name)
        return Scores(players.by_player(answering(game, rolled_out(layers))))


@dataclass(frozen=True)
class Flow:
    """Largest flow of attention."""

    name: str = "flow"
    about: str = "largest flow of attention from the answer to a token"
    family: str = ATTENTION
    default: bool = False

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score players that are tokens, each by its largest flow; nothing is drawn.

        Raises UnsupportedModelError for prompts whose flow would take minutes.
        """
        players = need_tokens(game.players, self.name)
        if len(game.question.ids) > _LONGEST:
            raise UnsupportedModelError(f"{self.name} is for prompts of up to {_LONGEST} tokens: take rollout.")
        layers = patterns(game, self.name)
        return Scores(players.by_player(_flows(layers, game.question.outputs)[: len(game.question.ids)]))


@torch.no_grad()
def patterns(game: Game, method: str) -> Float[Tensor, "layer pos pos"]:
    """Return the attention of each layer on the prompt and what the model reads behind it, mean over heads.

    Raises UnsupportedModelError for a model whose patterns are not sites.
    """
    model, found = game.model, list[Tensor]()
    sites = [Site(layer, "pattern") for layer in range(model.n_layers)]
    if not {*sites} <= {*model.sites()}:
        raise UnsupportedModelError(
            f"{model.name!r} runs by another library, whose attention patterns are not sites: {method} needs a model "
            "of a family that is read into our own decoder (see docs/models.md)."
        )
    ids = torch.tensor([[*game.question.ids, *game.question.target.given]], device=model.device)
    # The mean is taken layer by layer: patterns of all heads of a long text don't fit memory.
    with _each(game, sites, found):
        model.activations(ids, [sites[-1]])
    game.rows += 1
    return torch.stack(found).float().cpu()


def rolled_out(layers: Float[Tensor, "layer pos pos"]) -> Float[Tensor, "pos pos"]:
    """Return Π_l ½ (A_l + 1), the last layer on the left."""
    eye = torch.eye(layers.shape[1])
    whole = eye
    for layer in layers:
        whole = (layer + eye) / 2 @ whole
    return whole


def answering(game: Game, table: Float[Tensor, "total total"]) -> Float[Tensor, " pos"]:
    """Return what the positions that answer take from each token of the prompt, mean over them."""
    return table[-game.question.outputs :].mean(0)[: len(game.question.ids)]


def _each(game: Game, sites: list[Site], found: list[Tensor]) -> contextlib.ExitStack:
    stack = contextlib.ExitStack()

    def keep(x: Tensor, _: object) -> Tensor:
        found.append(x[0].mean(0))
        return x

    for site in sites:
        stack.enter_context(game.model.attach(site, keep))
    return stack


def _flows(layers: Float[Tensor, "layer pos pos"], outputs: int) -> Float[Tensor, " pos"]:
    """Return the largest flow from the last positions to each first one; nodes are positions between layers."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_flow

    depth, n, _ = layers.shape
    capacity = ((layers + torch.eye(n)) / 2 * _SCALE).round().int()
    upper, lower = capacity.nonzero()[:, 1], capacity.nonzero()[:, 2]
    level = capacity.nonzero()[:, 0]
    values = capacity[level, upper, lower]
    # Node (level, position) is level · n + position; level `depth` is above the last layer, under one source.
    source, size = (depth + 1) * n, (depth + 1) * n + 1
    starts = torch.cat([(level + 1) * n + upper, torch.full((outputs,), source)])
    ends = torch.cat([level * n + lower, depth * n + n - 1 - torch.arange(outputs)])
    capacities = torch.cat([values, torch.full((outputs,), _SCALE, dtype=values.dtype)])
    graph = csr_matrix((capacities.numpy(), (starts.numpy(), ends.numpy())), shape=(size, size), dtype="int32")
    flows = [maximum_flow(graph, source, target).flow_value for target in range(n)]
    return torch.tensor(flows) / (_SCALE * outputs)


register_method(RawAttention())
register_method(Rollout())
register_method(Flow())
