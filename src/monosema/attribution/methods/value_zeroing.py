"""Value zeroing: how much each layer's output at a position changes when it can't read the values of another.

    C_l[i, j] = 1 − cos(x̃_i, x_i),    x̃ = the layer's output with the values of position j at 0 in all of its heads

Rows are divided by their sums, and layers are multiplied as a rollout (Mohebbi et al. 2023, arXiv:2301.12971). Each
layer reads its own clean input. As with attention there is no sign, and the answer has no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.attribution.game import Game
from monosema.attribution.methods.attention import answering
from monosema.attribution.methods.method import ATTENTION, Scores, register_method
from monosema.attribution.players import need_tokens
from monosema.core import Site, UnsupportedModelError
from monosema.models import Transformer
from monosema.models.context import DecoderContext
from monosema.models.decoder import Block


@dataclass(frozen=True)
class ValueZeroing:
    """Value zeroing."""

    name: str = "value_zeroing"
    about: str = "change of each layer without a token's values, followed through all layers"
    family: str = ATTENTION
    default: bool = False

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score players that are tokens; nothing is drawn.

        Raises UnsupportedModelError for a model of another library.
        """
        players = need_tokens(game.players, self.name)
        if not isinstance(game.model, Transformer):
            raise UnsupportedModelError(f"{self.name} runs layers one by one, which a model of another library can't.")
        ids = torch.tensor([[*game.question.ids, *game.question.target.given]], device=game.model.device)
        whole = torch.eye(ids.shape[1])
        for layer in zeroed_layers(game.model, ids, game.rows_at_once()):
            whole = layer @ whole
        game.rows += ids.shape[1] + 1
        return Scores(players.by_player(answering(game, whole)))


@torch.no_grad()
def zeroed_layers(model: Transformer, tokens: Int[Tensor, "1 pos"], rows: int) -> list[Float[Tensor, "pos pos"]]:
    """Return each layer's table, rows that sum to 1; `rows` positions are zeroed at once."""
    n, found = tokens.shape[1], []
    sites = [Site(layer, "resid_pre") for layer in range(model.n_layers)]
    inputs = model.activations(tokens, sites)
    for layer, block in enumerate(model.blocks):
        clean = _layer(model, cast(Block, block), layer, inputs[sites[layer]], tokens)
        parts = []
        for places in torch.arange(n).split(rows):

            def zero(v: Tensor, _: object, places: Tensor = places) -> Tensor:
                v = v.clone()
                v[torch.arange(len(places)), places] = 0
                return v

            with model.attach(Site(layer, "v"), zero):
                m = len(places)
                x = inputs[sites[layer]].expand(m, -1, -1)
                changed = _layer(model, cast(Block, block), layer, x, tokens.expand(m, -1))
            parts.append(1 - torch.cosine_similarity(changed, clean, dim=-1))
        table = torch.cat(parts).T.cpu().clamp(min=0).tril()
        found.append(table / table.sum(1, keepdim=True).clamp(min=1e-12))
    return found


def _layer(model: Transformer, block: Block, layer: int, x: Tensor, tokens: Tensor) -> Float[Tensor, "m pos d_model"]:
    context = DecoderContext(tokens)
    return block.from_pre(x, context, model.hooks.at(layer, context)).float()


register_method(ValueZeroing())
