"""In-context learning by head and by latent: what makes later tokens of a text easier than early ones.

    score = loss late in a window − loss early in it      below 0: the model learns from the context

Source: Olsson et al. 2022, arXiv:2209.11895, there the 500th and the 50th token. What a part adds is what its ablation
adds to the score: means over windows stand in for a head, position by position; a latent is put to zero, with the
dictionary's error kept. Parts are chosen on one half of the windows by gradients, heads by their induction scores too,
and are ablated on the other half, singly and together, beside as many at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.circuits.heads.ablating import Read, ablated, all_heads, component_outputs, means
from monosema.circuits.heads.distinct import first_order
from monosema.circuits.heads.roles import HeadTexts, score_heads
from monosema.circuits.heads.texts import repeated_tokens
from monosema.core import Estimate, InputError, Site, bootstrap_mean, numpy_generator
from monosema.dictionaries import Dictionary
from monosema.interventions import splice
from monosema.models import ForwardContext, LanguageModel, Transformer, require_decoder

GRADIENT, INDUCTION, RANDOM = "by gradient", "by induction score", "at random"
SINGLY = 6
"""Parts of a group that are ablated one by one."""
_REPEATED = 16
_AT_ONCE = 4
"""Windows that go through the model with dense codes at once."""


@dataclass(frozen=True, kw_only=True)
class Ablated:
    """Parts chosen in one way.

    Attributes:
        parts: the first of them, with what ablating each adds to the score.
        size: all of them.
        together: what ablating all adds.
    """

    parts: dict[str, Estimate]
    size: int
    together: Estimate


@dataclass(frozen=True, kw_only=True)
class ContextLearning:
    """In-context learning, and what parts of the model add to it.

    Attributes:
        unit: "heads" or "latents".
        score: of the untouched model, nats a token.
        early, late: positions that are compared, the first and one behind the last of each.
        groups: parts by how they were chosen.
    """

    unit: str
    score: Estimate
    early: tuple[int, int]
    late: tuple[int, int]
    groups: dict[str, Ablated]

    @property
    def sentence(self) -> str:
        """The verdict."""
        (late, end), (early, stop) = self.late, self.early
        said = "; ".join(f"{name} {one.together}" for name, one in self.groups.items())
        size = next(iter(self.groups.values())).size
        return (
            f"Tokens {late} to {end} cost {self.score} nats more than {early} to {stop}. Ablating {size} {self.unit} "
            f"adds: {said}."
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "unit": self.unit,
            "score": self.score.to_dict(),
            "early": self.early,
            "late": self.late,
            "groups": {
                name: {
                    "size": one.size,
                    "together": one.together.to_dict(),
                    "parts": {part: effect.to_dict() for part, effect in one.parts.items()},
                }
                for name, one in self.groups.items()
            },
            "sentence": self.sentence,
        }


def context_learning(
    model: LanguageModel, tokens: Int[Tensor, "n pos"], top: int = 6, seed: int = 0
) -> ContextLearning:
    """Measure in-context learning on windows of text, and the heads that it rests on.

    Raises InputError for windows of fewer than 100 tokens, or fewer than four of them.
    """
    decoder, (early, late) = require_decoder(model), _spans(tokens)
    heads, (chosen, others) = all_heads(decoder), tokens.tensor_split(2)
    stand_ins = means(component_outputs(decoder, others))
    gain = partial(_gain, decoder, early=early, late=late)
    guessed = first_order(decoder, chosen, stand_ins, [(head,) for head in heads], gain(chosen)).mean(1)
    texts = HeadTexts(repeated=repeated_tokens(decoder, _REPEATED, seed=seed), ioi=None)
    inducing = score_heads(decoder, texts)["induction"].mean(1)
    ways = _ways({GRADIENT: -guessed, INDUCTION: inducing}, top, seed)
    sets = [[heads[row] for row in one] for one in _sets(ways)]
    figures = ablated(decoder, others, sets, stand_ins, gain(others)).cpu()
    return _found("heads", (early, late), ways, [head.name for head in heads], figures)


def context_latents(
    model: LanguageModel, dictionary: Dictionary, site: Site, tokens: Int[Tensor, "n pos"], top: int = 50, seed: int = 0
) -> ContextLearning:
    """Measure which latents of a dictionary in-context learning rests on; errors as `context_learning`."""
    decoder, (early, late) = require_decoder(model), _spans(tokens)
    chosen, others = tokens.tensor_split(2)
    gain = partial(_gain, decoder, early=early, late=late)
    guessed = torch.zeros(dictionary.n_latents, device=tokens.device)
    for some in chosen.split(_AT_ONCE):
        with torch.enable_grad(), splice(decoder, {site: dictionary}, error="keep") as parts:
            gain(some)(decoder.final_residual(some)).sum().backward()
        codes = parts[site].codes
        assert codes.values.grad is not None
        guessed -= replace(codes, values=codes.values.detach() * codes.values.grad).dense().sum(0) / len(chosen)
    ways = _ways({GRADIENT: guessed}, top, seed, guessed.nonzero().flatten().tolist())
    figures = torch.stack(
        [torch.cat([_without(decoder, dictionary, site, one, some, gain(some)) for some in others.split(_AT_ONCE)])
         for one in _sets(ways)]
    ).cpu()  # fmt: skip
    return _found("latents", (early, late), ways, [str(latent) for latent in range(dictionary.n_latents)], figures)


@torch.no_grad()
def _without(
    model: Transformer, dictionary: Dictionary, site: Site, latents: Sequence[int], tokens: Tensor, read: Read
) -> Float[Tensor, " n"]:
    if not latents:
        return read(model.final_residual(tokens))

    def ablate(codes: Tensor, _: ForwardContext) -> Tensor:
        return codes.index_fill(-1, torch.tensor(latents, device=codes.device), 0)

    with splice(model, {site: dictionary}, error="keep", latents={site: ablate}):
        return read(model.final_residual(tokens))


def _spans(tokens: Int[Tensor, "n pos"]) -> tuple[tuple[int, int], tuple[int, int]]:
    length = tokens.shape[1]
    if length < 100 or len(tokens) < 4:
        raise InputError(
            f"In-context learning is seen in four windows of 100 tokens or more; there are {len(tokens)} of {length}."
        )
    return (length // 10, length // 10 + 20), (length - 40, length)


def _ways(scores: dict[str, Tensor], top: int, seed: int, among: Sequence[int] | None = None) -> dict[str, list[int]]:
    """Return the parts of the highest scores of each kind, and as many of the others drawn at random."""
    ways = {name: one.argsort(descending=True).tolist()[:top] for name, one in scores.items()}
    taken = {row for rows in ways.values() for row in rows}
    rest = [row for row in among or range(len(next(iter(scores.values())))) if row not in taken]
    order = numpy_generator(seed, "context learning").permutation(len(rest))[:top]
    return {**ways, RANDOM: [rest[index] for index in order.tolist()]}


def _sets(ways: dict[str, list[int]]) -> list[list[int]]:
    """Return the sets to ablate: none, and of each way the first parts singly, then all together."""
    return [[], *(one for rows in ways.values() for one in [*([row] for row in rows[:SINGLY]), rows])]


def _found(
    unit: str,
    spans: tuple[tuple[int, int], tuple[int, int]],
    ways: dict[str, list[int]],
    names: Sequence[str],
    figures: Float[Tensor, "sets n"],
) -> ContextLearning:
    added = iter(map(bootstrap_mean, (figures[1:] - figures[0]).numpy()))
    groups = {}
    for way, rows in ways.items():
        parts = {names[row]: next(added) for row in rows[:SINGLY]}
        groups[way] = Ablated(parts=parts, size=len(rows), together=next(added))
    early, late = spans
    return ContextLearning(unit=unit, score=bootstrap_mean(figures[0].numpy()), early=early, late=late, groups=groups)


def _gain(model: Transformer, tokens: Int[Tensor, "n pos"], early: tuple[int, int], late: tuple[int, int]) -> Read:
    """Return the reading of late less early loss of each window."""

    def loss(x: Tensor, span: tuple[int, int]) -> Tensor:
        logits = model.logits(x[:, span[0] - 1 : span[1] - 1]).float()
        return -logits.log_softmax(-1).gather(-1, tokens[:, span[0] : span[1], None])[..., 0].mean(-1)

    return lambda x: loss(x, late) - loss(x, early)
