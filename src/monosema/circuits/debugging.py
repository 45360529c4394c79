"""Debugging: which features made the model give a wrong answer, predicted by gradients and checked by taking them out.

    predicted = −∇m · c_i f_i,    measured = m(x − c_i f_i) − m(x),    m = logit(right) − logit(wrong)

of active latents at each position, with what the dictionary does not explain left as it is. Positive: the right answer
gains where the feature is taken out. Beside what is found stand as many active features drawn at random.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.core import InputError, Site, VectorError
from monosema.dictionaries import Dictionary
from monosema.models import Fork, LanguageModel, Transformer, require_decoder

BATCH = 64
"""Versions that go through the rest of the model at once."""


@dataclass(frozen=True, kw_only=True)
class Culprit:
    """A feature at a position, and what the right answer gains without it.

    Attributes:
        latent, position: which, and where.
        token: text of the token there.
        activation: how strongly it was active.
        predicted, measured: nats that logit(right) − logit(wrong) gains.
        flips: true where the right answer wins as soon as it alone is taken out.
    """

    latent: int
    position: int
    token: str
    activation: float
    predicted: float
    measured: float
    flips: bool


@dataclass(frozen=True, kw_only=True)
class Debugged:
    """A wrong answer with what brought it about.

    Attributes:
        right, wrong: the answers.
        difference: logit(right) − logit(wrong) as it is.
        culprits: by what was measured, the most harmful first.
        together: how many of the first culprits must be taken out together for the right answer to win; None where not
            even all do it.
        random: the largest difference that as many active features, drawn at random, led to.
        active: pairs of feature and position that there were.
    """

    right: str
    wrong: str
    difference: float
    culprits: tuple[Culprit, ...]
    together: int | None
    random: float
    active: int


def debug(
    model: LanguageModel,
    dictionary: Dictionary,
    text: str,
    right: str,
    wrong: str | None = None,
    *,
    site: Site | str | None = None,
    most: int = 20,
    seed: int = 0,
) -> Debugged:
    """Find the features of a site that made an answer wrong.

    Args:
        dictionary: one that reads and writes the same site.
        right: the answer that should come next, one token, with its leading space.
        wrong: the answer that came; None for the model's likeliest other.
        site: where the dictionary reads; None for the site of its metadata.
        most: features to check by taking them out.
        seed: decides the random ones.

    Raises:
        InputError: an answer of several tokens, no site, or no active feature.
        VectorError: the dictionary writes vectors of another width than it reads.
    """
    decoder = require_decoder(model)
    site = decoder.find(site or _site_of(dictionary))
    if dictionary.d_in != dictionary.d_out:
        raise VectorError(f"The dictionary reads {dictionary.d_in} values and writes {dictionary.d_out}: take an SAE.")
    tokens = torch.tensor([decoder.tokenizer.encode(text)], device=decoder.device)
    game = _Game(decoder, Fork(decoder, site, tokens), *_answers(decoder, tokens, right, wrong))
    index, values, parts = _active(decoder, dictionary, tokens, game)
    predicted = -(game.gradient()[index[:, 0]] * parts).sum(1)
    first = predicted.argsort(descending=True)[:most]
    start = float(game.of([game.x])[0])
    measured = game.of([game.without(index[i : i + 1], parts[i : i + 1]) for i in first.tolist()]) - start
    order = measured.argsort(descending=True)
    ranked = first[order]
    together = game.of([game.without(index[ranked[:n]], parts[ranked[:n]]) for n in range(1, len(ranked) + 1)])
    wins = (together > 0).nonzero()
    n = len(ranked) if len(wins) == 0 else int(wins[0]) + 1
    rng = random.Random(seed)
    drawn = [torch.tensor(rng.sample(range(len(index)), min(n, len(index)))) for _ in range(10)]
    chance = game.of([game.without(index[rows], parts[rows]) for rows in drawn])
    ids, shown = index[ranked].tolist(), decoder.tokenizer.tokens(tokens[0].tolist())
    return Debugged(
        right=right,
        wrong=decoder.tokenizer.tokens([game.wrong])[0],
        difference=start,
        culprits=tuple(
            Culprit(
                latent=latent,
                position=position,
                token=shown[position],
                activation=float(values[row]),
                predicted=float(predicted[row]),
                measured=float(gain),
                flips=start + float(gain) > 0,
            )
            for (position, latent), row, gain in zip(ids, ranked.tolist(), measured[order].tolist(), strict=True)
        ),
        together=n if len(wins) else None,
        random=float(chance.max()),
        active=len(index),
    )


def _site_of(dictionary: Dictionary) -> Site:
    if dictionary.metadata.site is None:
        raise InputError("The dictionary doesn't say which site it reads: give site, such as 3.resid_post.")
    return dictionary.metadata.site


def _answers(model: Transformer, tokens: Int[Tensor, "1 pos"], right: str, wrong: str | None) -> tuple[int, int]:
    ids = [model.tokenizer.encode(one, bos=False) for one in (right, *([] if wrong is None else [wrong]))]
    for text, found in zip((right, wrong), ids, strict=False):
        if len(found) != 1:
            raise InputError(f"The answer {text!r} has {len(found)} tokens for {model.name!r}: give one of one token.")
    if wrong is not None:
        return ids[0][0], ids[1][0]
    likeliest = model(tokens, last=True)[0, -1].topk(2).indices.tolist()
    return ids[0][0], next(one for one in likeliest if one != ids[0][0])


@torch.no_grad()
def _active(
    model: Transformer, dictionary: Dictionary, tokens: Int[Tensor, "1 pos"], game: _Game
) -> tuple[Int[Tensor, "n 2"], Float[Tensor, " n"], Float[Tensor, "n d"]]:
    """Return position and latent of what is active, its activation, and the vector that it adds."""
    special = torch.tensor([*model.tokenizer.special_ids], device=tokens.device)
    codes = dictionary.to(model.device).encode(game.x[0].float())
    dense = codes.dense().masked_fill(torch.isin(tokens[0], special)[:, None], 0)
    index = dense.nonzero()
    if len(index) == 0:
        raise InputError("No feature of the dictionary is active on this text, so there is nothing to take out.")
    values = dense[index[:, 0], index[:, 1]]
    parts = values[:, None] * dictionary.directions.to(dense)[index[:, 1]]
    return index, values, parts if codes.scale is None else parts * codes.scale[index[:, 0]]


@dataclass(frozen=True, eq=False)
class _Game:
    """A prompt that was computed up to the site, from where versions of it go on to the two answers."""

    model: Transformer
    fork: Fork
    right: int
    wrong: int

    @property
    def x(self) -> Float[Tensor, "1 pos d"]:
        """Activation at the site."""
        return self.fork.activation

    def without(self, index: Int[Tensor, "n 2"], parts: Float[Tensor, "n d"]) -> Float[Tensor, "1 pos d"]:
        """Return the activation without what these features add."""
        return self.x.index_put((torch.zeros_like(index[:, 0]), index[:, 0]), -parts.to(self.x.dtype), accumulate=True)

    def gradient(self) -> Float[Tensor, "pos d"]:
        """Return the gradient of the difference with respect to the activation."""
        x = self.x.detach().clone().requires_grad_()
        with torch.enable_grad():
            (out,) = self.fork.run([x])
            (gradient,) = torch.autograd.grad(self._difference(out).sum(), x)
        return gradient[0].float()

    @torch.no_grad()
    def of(self, versions: Sequence[Float[Tensor, "1 pos d"]]) -> Float[Tensor, " versions"]:
        """Return logit(right) − logit(wrong) of each version."""
        found = list[Tensor]()
        for start in range(0, len(versions), BATCH):
            found += [self._difference(out) for out in self.fork.run(versions[start : start + BATCH])]
        return torch.cat(found).float().cpu()

    def _difference(self, out: Float[Tensor, "1 pos d"]) -> Float[Tensor, "1"]:
        logits = self.model.logits(out[:, -1])
        return logits[:, self.right] - logits[:, self.wrong]
