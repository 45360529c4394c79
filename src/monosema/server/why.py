"""Why this token? Methods that divide the answer among features and tokens, in an open list.

All methods are asked the same `Question`, whose value F is a difference of log-probabilities at one position, and
answer in its unit, nats: what is above 0 speaks for the target. They see the positions that the dictionary reads, up to
that of the question.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import InputError, UnsupportedModelError, torch_generator
from monosema.server.reading import DictionaryReading, Question

EXACT = 48
"""Features on one token each that are taken out by a forward pass of their own: those of the largest estimates."""

LEFT = "left by the reconstruction"
"""Name of the part of the activation that features leave: the decoder's bias and the error."""


@dataclass(frozen=True)
class FeatureShare:
    """A latent's part in the answer, on one token."""

    latent: int
    position: int
    value: float
    score: float


@dataclass(frozen=True)
class Answer:
    """A method's answer.

    Attributes:
        tokens: a score for each token of the prompt; 0 where no feature is read.
        features: the largest scores, whatever their sign, the largest first.
        value: F of the question.
        n: active features, on one token each, that have a score.
        whole: sum of the scores of all; None where they do not add up.
        rest: further parts of F by name, in nats.
        control: median size of the score of random directions in the place of features; None where it makes no sense.
        seconds: time that it took.
    """

    method: str
    tokens: list[float]
    features: list[FeatureShare]
    value: float
    n: int = 0
    whole: float | None = None
    rest: Mapping[str, float] = field(default_factory=dict)
    control: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Method:
    """A way to answer.

    Attributes:
        name: in addresses and requests.
        title: as shown.
        about: a sentence that says how it is computed.
        answer: the computation; `most` is the number of features to return.
    """

    name: str
    title: str
    about: str
    answer: Callable[[DictionaryReading, Question, int], Answer] = field(repr=False)


METHODS: dict[str, Method] = {}
"""Methods by name, in the order in which they are run: quick ones first."""


def register_method(method: Method) -> None:
    """Add a method, or replace one; pages list it from then on."""
    METHODS[method.name] = method


def answers(
    read: DictionaryReading, question: Question, methods: list[str] | None = None, most: int = 12
) -> Iterator[Answer | tuple[str, str]]:
    """Answer by each method in turn; a method that can't gives its name and the reason.

    Raises InputError for a method that there is not.
    """
    names = list(METHODS) if methods is None else methods
    if unknown := [name for name in names if name not in METHODS]:
        raise InputError(f"There is no method {unknown[0]!r}. There are: {', '.join(METHODS)}.")
    for name in names:
        start = time.perf_counter()
        try:
            answer = METHODS[name].answer(read, question, most)
        except UnsupportedModelError as error:
            yield name, str(error)
            continue
        yield Answer(**{**vars(answer), "seconds": time.perf_counter() - start})


def _by_gradient(read: DictionaryReading, question: Question, most: int) -> Answer:
    """a_j d_j · ∂F/∂x: attribution patching to zero (Nanda 2023), a first-order estimate of what removal does."""
    scores, value, whole = _gradient_scores(read, question)
    return _answer("gradient", read, scores, value, most, {LEFT: whole - float(scores.sum())})


def _by_ablation(read: DictionaryReading, question: Question, most: int) -> Answer:
    """F − F without the latent on that token, exactly, for the features of the largest estimates.

    A token's score is the fall of F when all that is active on it goes. The control takes out, at the same positions, a
    random direction as long as the feature's part.
    """
    estimates, value, _ = _gradient_scores(read, question)
    rows, columns = _largest(estimates, min(EXACT, int((estimates != 0).sum())))
    chosen = [(row, int(read.latents[row, column])) for row, column in zip(rows, columns, strict=True)]
    seen = [row for row in range(question.position + 1) if float(read.values[row, 0]) > 0]  # 0 at special tokens
    whole = [[(row, int(latent)) for latent in read.latents[row, read.values[row] > 0]] for row in seen]
    effects = read.effects([*([one] for one in chosen), *whole, [*chain(*whole)]], question)
    tokens = [0.0] * len(read.reading.ids)
    for row, effect in zip(seen, effects[len(chosen) : -1], strict=True):
        tokens[row] = effect
    shares = [
        FeatureShare(latent, row, read.part(row, latent), effect)
        for (row, latent), effect in zip(chosen, effects, strict=False)
    ]
    shares.sort(key=lambda share: -abs(share.score))
    n, rest = int((estimates != 0).sum()), {"all features at once": effects[-1]}
    return Answer(
        "ablation", tokens, shares[:most], value, n, None, rest, _random_effect(read, question, shares[:most])
    )


def _by_logits(read: DictionaryReading, question: Question, most: int) -> Answer:
    """a_j d_j through the final norm, at its scale there, and the unembedding: the direct effect, at the question's
    position alone. Bias and later layers have no part in it; the scale of the norm is taken as it is."""
    model, at = read.reading.model, question.position
    if read.directions.shape[1] != model.d_model or not read.site.component.startswith(
        ("resid", "mlp_out", "attn_out")
    ):
        raise UnsupportedModelError(
            f"{read.site.short} does not write into the residual stream, so its features have no direct effect."
        )
    with torch.inference_mode():
        values, latents = read.values[at], read.latents[at]
        stream = read.fork(at).activation[0, at].flatten()
        parts = torch.cat([read.directions[latents], stream[None].to(read.directions)])
        logits = model.unembed(parts).float() / _norm_scale(read, at)
        direct = logits[:, question.target] - (logits.mean(-1) if question.foil is None else logits[:, question.foil])
        scores = torch.zeros_like(read.values)
        scores[at] = values * direct[:-1]
        value = float(question.value(read.reading.logits[at]))
    whole = float(direct[-1])
    rest = {LEFT: whole - float(scores.sum()), "other layers": value - whole}
    return _answer("direct", read, scores, value, most, rest)


def _norm_scale(read: DictionaryReading, at: int) -> float:
    """Return what the final norm divides the residual stream by at a position."""
    model = read.reading.model
    scale = next((site for site in model.sites() if site.component == "ln_final.scale"), None)
    if scale is None:
        raise UnsupportedModelError(f"monosema does not know the final norm of {model.name}.")
    return float(model.activations(read.reading.tokens, [scale])[scale][0, at].float().mean())


def _gradient_scores(read: DictionaryReading, question: Question) -> tuple[Float[Tensor, "pos k"], float, float]:
    """Return a_j d_j · ∂F/∂x of every active latent up to the question's position, F, and x · ∂F/∂x in all."""
    at = question.position
    fork = read.fork(at)
    with torch.enable_grad():
        x = fork.activation.detach().clone().requires_grad_()
        (out,) = fork.run([x])
        value = question.value(read.logits(out[0, at]))
        (gradient,) = torch.autograd.grad(value, x)
    along = torch.zeros_like(read.values)
    rows = gradient[0].flatten(1).float()
    for place in range(at + 1):
        along[place] = read.directions[read.latents[place]].float() @ rows[place]
    whole = float((x.detach()[0].flatten(1).float() * rows).sum())
    return read.values * along, float(value.detach()), whole


@torch.inference_mode()
def _random_effect(read: DictionaryReading, question: Question, shares: list[FeatureShare]) -> float | None:
    """Return the median size of the effect of random directions, as long as the features' parts, at their places."""
    if not shares:
        return None
    draw = torch.randn(len(shares), read.directions.shape[1], generator=torch_generator(0, "random effect"))
    changes: list[list[tuple[int, Tensor]]] = [[]]
    for share, direction in zip(shares, draw, strict=True):
        length = share.value * float(read.directions[share.latent].norm())
        changes.append([(share.position, (direction * length / direction.norm()).to(read.directions))])
    values = [question.value(one[0]) for one in read.pushed(read.fork(question.position), changes, question.position)]
    return float((torch.stack(values[1:]) - values[0]).abs().median())


def _largest(scores: Float[Tensor, "pos k"], n: int) -> tuple[list[int], list[int]]:
    order = scores.abs().flatten().topk(n).indices
    return (order // scores.shape[1]).tolist(), (order % scores.shape[1]).tolist()


def _answer(
    method: str,
    read: DictionaryReading,
    scores: Float[Tensor, "pos k"],
    value: float,
    most: int,
    rest: Mapping[str, float],
) -> Answer:
    n = int((scores != 0).sum())
    rows, columns = _largest(scores, min(most, n))
    shares = [
        FeatureShare(int(read.latents[row, column]), row, float(read.values[row, column]), float(scores[row, column]))
        for row, column in zip(rows, columns, strict=True)
    ]
    return Answer(method, scores.sum(1).tolist(), shares, value, n, float(scores.sum()), rest)


for _method in (
    Method(
        "direct",
        "Direct effect",
        "Each feature’s part in the logit at this position, straight through the unembedding: later layers left out.",
        _by_logits,
    ),
    Method(
        "gradient",
        "Gradient",
        "Activation × gradient: an estimate, to first order, of what taking the feature out would do.",
        _by_gradient,
    ),
    Method(
        "ablation",
        "Ablation",
        "What changes when the feature is taken out on that token, by a forward pass for each of the largest.",
        _by_ablation,
    ),
):
    register_method(_method)
