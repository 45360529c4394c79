"""Layer-wise relevance propagation: input × gradient under rules that hand relevance down layer by layer.

    cp_lrp     φ_i = e_i · ∂̃F/∂e_i, patterns and norms' scales held constant, activations and gates by `rules`
    attn_lrp   the same, with relevance through patterns: half to them and half to the values
    z_plus     as cp_lrp, and each linear layer hands relevance to its inputs by what they add above 0 alone:
               R_i = Σ_j (x_i w_ij)⁺ / Σ_k (x_k w_kj)⁺ R_j      the z⁺ rule of deep Taylor decomposition

Sources: Ali et al. 2022, arXiv:2202.07304; AttnLRP, Achtibat et al. 2024, arXiv:2402.05602; z⁺, Montavon et al. 2017,
arXiv:1512.02479. For a contrast of two tokens F is the difference of their logits, and cp_lrp conserves it but for
biases; the softmax of attn_lrp keeps a part, as published. A note says which share of F arrives at the embeddings.
Departure of cp_lrp: a gate goes back half to each factor, which other code holds constant. The z⁺ rule holds at the
projections of attention and MLPs; the unembedding, which reads a difference of two logits, goes back as it is.

LRP is patented; see docs/attribution.md before you use it in a product. None is run where no methods are named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from monosema.attribution.game import Game
from monosema.attribution.methods.gradients import embedding_gradients, embeddings
from monosema.attribution.methods.method import PROPAGATION, Scores, register_method
from monosema.attribution.players import need_tokens
from monosema.attribution.rules import Pattern, passed_back, relevance_rules
from monosema.models import Transformer


@dataclass(frozen=True)
class Relevance:
    """Relevance of embeddings, by one set of rules.

    Attributes:
        name, about, family, default: see `Method`.
        pattern: the rule for attention.
        positive: the z⁺ rule at linear layers.
    """

    name: str
    about: str
    pattern: Pattern
    positive: bool = False
    family: str = PROPAGATION
    default: bool = False

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score players that are tokens; nothing is drawn."""
        players, x = need_tokens(game.players, self.name), embeddings(game)
        assert isinstance(game.model, Transformer)
        linear = positive_parts(game.model) if self.positive else contextlib.nullcontext()
        with relevance_rules(game.model, self.pattern, halve_queries=self.pattern == "half"), linear:
            slopes = embedding_gradients(game, players, x[None])[0]
        relevance = (x * slopes).sum(-1)
        return Scores(players.by_player(relevance), notes={"share that arrives": float(relevance.sum()) / game.full})


@contextlib.contextmanager
def positive_parts(model: Transformer) -> Iterator[None]:
    """Let gradients go back through linear layers by the z⁺ rule in the block; values stay as they are."""
    layers = [one for block in model.blocks for one in block.modules() if isinstance(one, nn.Linear)]
    handles = [layer.register_forward_hook(_give) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _give(layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return passed_back(out, _ZPlus.apply(inputs[0], layer.weight.detach(), out.detach()))


class _ZPlus(torch.autograd.Function):
    """x Wᵀ, whose input × gradient is the z⁺ rule's relevance."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, out: Tensor) -> Tensor:
        context.save_for_backward(x, weight, out)
        return out.clone()

    @staticmethod
    def backward(context: Any, *gradients: Float[Tensor, "*batch d_out"]) -> tuple[Tensor, None, None]:
        x, weight, out = context.saved_tensors
        above, below = weight.clamp(min=0), weight.clamp(max=0)
        added = x.clamp(min=0) @ above.T + x.clamp(max=0) @ below.T
        shares = out * gradients[0] / added.clamp(min=1e-9)
        return torch.where(x > 0, shares @ above, shares @ below), None, None


register_method(Relevance("cp_lrp", "relevance handed down along constant attention", "constant"))
register_method(Relevance("attn_lrp", "relevance handed down by the rules of AttnLRP", "half"))
register_method(Relevance("z_plus", "relevance handed to what adds above 0: deep Taylor", "constant", positive=True))
