"""In-context learning by head: which heads make later tokens of a text easier than early ones.

    score = loss late in a window − loss early in it      below 0: the model learns from the context

Source: Olsson et al. 2022, arXiv:2209.11895, there the 500th and the 50th token. A head's part is what its ablation
adds to the score; means over windows stand in, position by position. Heads are chosen by gradients on one half of the
windows; those that come first, and as many at random, are ablated on the other half.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from monosema.circuits.graph import Node
from monosema.circuits.heads.ablating import Read, ablated, all_heads, component_outputs, means
from monosema.circuits.heads.distinct import first_order
from monosema.core import Estimate, InputError, bootstrap_mean, numpy_generator
from monosema.models import LanguageModel, Transformer, require_decoder


@dataclass(frozen=True, kw_only=True)
class ContextLearning:
    """In-context learning, and what heads add to it.

    Attributes:
        score: of the untouched model, nats a token.
        early, late: positions that are compared, the first and one behind the last of each.
        heads: the heads that come first, with what ablating them adds to the score.
        others: as many at random.
    """

    score: Estimate
    early: tuple[int, int]
    late: tuple[int, int]
    heads: dict[Node, Estimate]
    others: dict[Node, Estimate]

    @property
    def sentence(self) -> str:
        """The verdict."""
        having = [head.name for head, effect in self.heads.items() if effect.low > 0]
        (late, end), (early, stop) = self.late, self.early
        said = f"Tokens {late} to {end} cost {self.score} nats more than {early} to {stop}."
        return f"{said} Without one of {', '.join(having)} it is more." if having else said

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "score": self.score.to_dict(),
            "early": self.early,
            "late": self.late,
            "heads": {head.name: effect.to_dict() for head, effect in self.heads.items()},
            "others": {head.name: effect.to_dict() for head, effect in self.others.items()},
            "sentence": self.sentence,
        }


def context_learning(
    model: LanguageModel, tokens: Int[Tensor, "n pos"], top: int = 6, seed: int = 0
) -> ContextLearning:
    """Measure in-context learning on windows of text, and the heads that it rests on.

    Raises InputError for windows of fewer than 100 tokens, or fewer than four of them.
    """
    decoder, length = require_decoder(model), tokens.shape[1]
    if length < 100 or len(tokens) < 4:
        raise InputError(
            f"In-context learning is seen in four windows of 100 tokens or more; there are {len(tokens)} of {length}."
        )
    early, late = (length // 10, length // 10 + 20), (length - 40, length)
    heads, (chosen, tokens) = all_heads(decoder), tokens.tensor_split(2)
    stand_ins = means(component_outputs(decoder, tokens))
    nodes = [(head,) for head in heads]
    guessed = first_order(decoder, chosen, stand_ins, nodes, _gain(decoder, chosen, early, late)).mean(1)
    first = [heads[row] for row in guessed.argsort().tolist()[:top]]
    rest = [head for head in heads if head not in first]
    drawn = [rest[index] for index in numpy_generator(seed, "context learning").permutation(len(rest))[:top]]
    read = _gain(decoder, tokens, early, late)
    figures = ablated(decoder, tokens, [(), *((head,) for head in (*first, *drawn))], stand_ins, read).cpu()
    added = dict(zip((*first, *drawn), map(bootstrap_mean, (figures[1:] - figures[0]).numpy()), strict=True))
    return ContextLearning(
        score=bootstrap_mean(figures[0].numpy()),
        early=early,
        late=late,
        heads={head: added[head] for head in first},
        others={head: added[head] for head in drawn},
    )


def _gain(model: Transformer, tokens: Int[Tensor, "n pos"], early: tuple[int, int], late: tuple[int, int]) -> Read:
    """Return the reading of late less early loss of each window."""

    def loss(x: Tensor, span: tuple[int, int]) -> Tensor:
        logits = model.logits(x[:, span[0] - 1 : span[1] - 1]).float()
        return -logits.log_softmax(-1).gather(-1, tokens[:, span[0] : span[1], None])[..., 0].mean(-1)

    return lambda x: loss(x, late) - loss(x, early)
