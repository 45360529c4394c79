"""Debugging: which features made the model give a wrong answer, predicted by gradients and checked by taking them out.

    predicted = −∇m · c_i f_i,    measured = m(x − c_i f_i) − m(x),    m = logit(right) − logit(wrong)

of active latents at each position, with what the dictionary does not explain left as it is. Positive: the right answer
gains where the feature is taken out. Beside what is found stand as many active features of equal size, ‖c_i f_i‖, drawn
at random.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.circuits.metrics import last_logits
from monosema.circuits.shown import ShownEdge, ShownGraph, ShownNode
from monosema.core import Estimate, InputError, Site, VectorError
from monosema.dictionaries import Dictionary
from monosema.models import Fork, LanguageModel, Transformer, require_decoder

BATCH = 64
"""Versions that go through the rest of the model at once."""
DRAWS, NEAREST = 10, 8
"""Times that features of equal size are drawn, and how many of the nearest sizes one is drawn from."""


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
        text: the prompt, without special tokens.
        tokens: texts of its tokens.
        right, wrong: the answers.
        difference: logit(right) − logit(wrong) as it is.
        culprits: by what was measured, the most harmful first.
        together: how many of the first culprits must be taken out together for the right answer to win; None where not
            even all do it.
        gained: the difference with as many taken out, or all of them.
        chance: the same difference without as many active features of equal size, one figure a draw.
        active: pairs of feature and position that there were.
    """

    text: str
    tokens: tuple[str, ...]
    right: str
    wrong: str
    difference: float
    culprits: tuple[Culprit, ...]
    together: int | None
    gained: float
    chance: tuple[float, ...]
    active: int

    @property
    def removed(self) -> tuple[Culprit, ...]:
        """Culprits that were taken out together: those that flip the answer, or all."""
        return self.culprits[: self.together]

    @property
    def verdict(self) -> str:
        """The finding, in sentences."""
        n, mean = len(self.removed), sum(self.chance) / max(len(self.chance), 1)
        first = f"{n} features" if n > 1 else "1 feature"
        flips = sum(one > 0 for one in self.chance)
        by = f"{abs(self.gained):.2f}"
        turned = f"it loses by {by}." if self.together else f"it still wins by {by}."
        ending = f" on average, and {flips} of {len(self.chance)} draws flip it."
        drawn = f"Without {first} of equal size at random it wins by {-mean:.2f}{ending}"
        if mean > 0:
            drawn = f"Without {first} of equal size at random it loses by {mean:.2f}{ending}"
        return (
            f"{self.wrong!r} wins over {self.right!r} by {-self.difference:.2f} nats. "
            f"Without {first} of {self.active:,} {turned} {drawn}"
        )


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
        InputError: an answer of several tokens, one that is right already, no site, or no active feature.
        VectorError: the dictionary writes vectors of another width than it reads.
    """
    decoder = require_decoder(model)
    ids = decoder.tokenizer.encode(text)
    answers = _answers(decoder, ids, right, wrong)
    return debugged(decoder, dictionary, place_of(decoder, dictionary, site), ids, *answers, most, seed)


def show_debugged(
    case: Debugged,
    model: LanguageModel,
    site: Site,
    labels: Mapping[int, str] | None = None,
    about: Mapping[str, str | int | float | bool] | None = None,
) -> ShownGraph:
    """Return a debugged answer as a graph to look at: what each culprit does for the right answer, which it hinders.

    Args:
        labels: of latents.
        about: further facts, such as where the dictionary is, by which the page tests them.
    """
    layer = model.n_layers - 1 if site.layer is None else site.layer
    nodes = [
        ShownNode(
            name=f"{site.short}#{one.latent}@{one.position}",
            kind="latent",
            layer=layer,
            column=one.position,
            label=(labels or {}).get(one.latent, ""),
            latent=one.latent,
            predicted=-one.predicted,
            measured=Estimate(-one.measured, -one.measured, -one.measured, 1),
        )
        for one in case.culprits
    ]
    end = ShownNode(
        name="logits",
        kind="logits",
        layer=model.n_layers,
        column=len(case.tokens) - 1,
        label=f"{case.right} − {case.wrong}",
    )
    right, wrong = (model.tokenizer.encode(text, bos=False)[0] for text in (case.right, case.wrong))
    return ShownGraph(
        title=f"{case.text} →{case.wrong}",
        unit="nodes",
        n_layers=model.n_layers,
        nodes=(*nodes, end),
        edges=tuple(
            ShownEdge(source=row, target=len(nodes), weight=-one.measured) for row, one in enumerate(case.culprits)
        ),
        total=case.active,
        tokens=case.tokens,
        about={"method": "debugging", "model": model.name, "right": right, "wrong": wrong, **(about or {})},
        notes=(case.verdict,),
    )


def place_of(model: Transformer, dictionary: Dictionary, site: Site | str | None = None) -> Site:
    """Return the site that a dictionary reads and writes.

    Raises:
        InputError: it is not said.
        VectorError: the dictionary writes vectors of another width than it reads.
    """
    found = site or dictionary.metadata.site
    if found is None:
        raise InputError("The dictionary doesn't say which site it reads: give site, such as 3.resid_post.")
    if dictionary.d_in != dictionary.d_out:
        raise VectorError(f"The dictionary reads {dictionary.d_in} values and writes {dictionary.d_out}: take an SAE.")
    return model.find(found)


def debugged(
    model: Transformer,
    dictionary: Dictionary,
    site: Site,
    ids: Sequence[int],
    right: int,
    wrong: int,
    most: int,
    seed: int,
) -> Debugged:
    """Return the features of one site that made an answer wrong, of token ids; see `debug`."""
    tokens = torch.tensor([ids], device=model.device)
    game = _Game(model, Fork(model, site, tokens), right, wrong)
    answers, texts = model.tokenizer.tokens([right, wrong]), model.tokenizer.tokens(ids)
    start = float(game.of([game.x])[0])
    if start > 0:
        raise InputError(f"The model finds {answers[0]!r} likelier than {answers[1]!r}: there is nothing to debug.")
    index, values, parts = _active(model, dictionary, tokens, game)
    predicted = -(game.gradient()[index[:, 0]] * parts).sum(1)
    first = predicted.argsort(descending=True)[:most]
    measured = game.of([game.without(index[i : i + 1], parts[i : i + 1]) for i in first.tolist()]) - start
    order = measured.argsort(descending=True)
    ranked = first[order.to(first.device)]
    together = game.of([game.without(index[ranked[:n]], parts[ranked[:n]]) for n in range(1, len(ranked) + 1)])
    wins = (together > 0).nonzero()
    n = len(ranked) if len(wins) == 0 else int(wins[0]) + 1
    chance = game.of([game.without(index[some], parts[some]) for some in _alike(parts.norm(dim=1), ranked[:n], seed)])
    culprits = tuple(
        Culprit(
            latent=latent,
            position=position,
            token=texts[position],
            activation=float(values[row]),
            predicted=float(predicted[row]),
            measured=gain,
            flips=start + gain > 0,
        )
        for (position, latent), row, gain in zip(
            index[ranked].tolist(), ranked.tolist(), measured[order].tolist(), strict=True
        )
    )
    special = special_at(model, tokens[0]).tolist()
    return Debugged(
        text="".join(text for text, left_out in zip(texts, special, strict=True) if not left_out),
        tokens=tuple(texts),
        right=answers[0],
        wrong=answers[1],
        difference=start,
        culprits=culprits,
        together=n if len(wins) else None,
        gained=float(together[n - 1]),
        chance=tuple(chance.tolist()),
        active=len(index),
    )


def _alike(sizes: Float[Tensor, " n"], chosen: Int[Tensor, " some"], seed: int) -> Iterator[Int[Tensor, " some"]]:
    """Give draws of as many others, each from those whose sizes are nearest; fewer where there are no more."""
    rng, lengths = random.Random(seed), sizes.tolist()
    wanted = [lengths[one] for one in chosen.tolist()]
    others = [one for one in range(len(lengths)) if one not in {*chosen.tolist()}]
    for _ in range(DRAWS if others else 0):
        left = [*others]
        for size in wanted[: len(others)]:
            near = sorted(left, key=lambda one, size=size: abs(lengths[one] - size))  # type: ignore[misc]
            left.remove(rng.choice(near[:NEAREST]))
        yield torch.tensor([one for one in others if one not in {*left}], device=sizes.device)


def _answers(model: Transformer, tokens: Sequence[int], right: str, wrong: str | None) -> tuple[int, int]:
    ids = [model.tokenizer.encode(one, bos=False) for one in (right, *([] if wrong is None else [wrong]))]
    for text, found in zip((right, wrong), ids, strict=False):
        if len(found) != 1:
            raise InputError(f"The answer {text!r} has {len(found)} tokens for {model.name!r}: give one of one token.")
    if wrong is not None:
        return ids[0][0], ids[1][0]
    likeliest = last_logits(model, torch.tensor([tokens], device=model.device))[0].topk(2).indices.tolist()
    return ids[0][0], next(one for one in likeliest if one != ids[0][0])


@torch.no_grad()
def _active(
    model: Transformer, dictionary: Dictionary, tokens: Int[Tensor, "1 pos"], game: _Game
) -> tuple[Int[Tensor, "n 2"], Float[Tensor, " n"], Float[Tensor, "n d"]]:
    """Return position and latent of what is active, its activation, and the vector that it adds."""
    codes = dictionary.to(model.device).encode(game.x[0].float())
    dense = codes.dense().masked_fill(sinks_at(model, tokens)[0][:, None], 0)
    index = dense.nonzero()
    if len(index) == 0:
        raise InputError("No feature of the dictionary is active on this text, so there is nothing to take out.")
    values = dense[index[:, 0], index[:, 1]]
    parts = values[:, None] * dictionary.directions.to(dense)[index[:, 1]]
    return index, values, parts if codes.scale is None else parts * codes.scale[index[:, 0]]


def special_at(model: Transformer, tokens: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Return true where a token is special, such as the one that begins a text."""
    return torch.isin(tokens, torch.tensor([*model.tokenizer.special_ids], device=tokens.device))


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


def sinks_at(model: Transformer, tokens: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
    """Return true where no dictionary was trained: special tokens, and the first, where attention comes to rest."""
    sinks = special_at(model, tokens)
    sinks[:, 0] = True
    return sinks
