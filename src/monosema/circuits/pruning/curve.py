"""Pruning judged: loss on held-out text by how much is removed, for each importance, beside magnitude and chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.memory import forward_bytes, rows_within
from monosema.circuits.pruning.cutting import Kept, cut
from monosema.circuits.pruning.importance import Tokens, Unit, importance_named, text_loss
from monosema.core import Estimate, InputError, bootstrap_mean
from monosema.data import Corpus, Split, TextConfig, token_batches
from monosema.models import LanguageModel, Transformer, require_decoder
from monosema.models.config import TransformerConfig

SHARES = (1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8)
"""Shares that a curve removes."""
SEEDS = 3
"""Draws of the random control."""
MOST_WINDOWS = 16
"""Windows of a batch, however much memory there is."""


def text_rows(model: LanguageModel, corpus: Corpus, tokens: int, split: Split, window: int = 128) -> list[Tokens]:
    """Return batches of whole windows of a corpus, beginning as the model expects texts to begin."""
    window = min(window, model.context)
    # A window's logits are held three times: themselves, their log-probabilities, and the gradient.
    row = forward_bytes(require_decoder(model), window, kept=True) + 3 * 4 * window * model.vocab
    config = TextConfig(window=window, batch=min(rows_within(row), MOST_WINDOWS), tokens=tokens, split=split)
    whole = [
        one.tokens.to(model.device)
        for one in token_batches(corpus, model.tokenizer, config)
        if one.attention_mask.all()
    ]
    if not whole:
        raise InputError(f"The text has no whole window of {config.window} tokens: give more of it.")
    return whole


def most_at(unit: Unit, config: TransformerConfig) -> int:
    """Return how many parts can be removed, of each layer or, of layers, in all: all but one."""
    return {"heads": config.n_kv_heads, "neurons": config.d_mlp, "layers": config.n_layers}[unit] - 1


def kept_by(scores: Float[Tensor, "layer part"], unit: Unit, removed: int, config: TransformerConfig) -> Kept:
    """Return what stays when the `removed` parts that score lowest go: of each layer, or, for layers, in all."""
    if not 0 <= removed <= most_at(unit, config):
        each = "of the model" if unit == "layers" else "of each layer"
        raise InputError(f"{removed} {unit} {each} can't go: remove 0 to {most_at(unit, config)}.")
    whole = Kept.all_of(config)
    rows = scores.T if unit == "layers" else scores
    stay = rows.argsort(dim=1, descending=True, stable=True)[:, : rows.shape[1] - removed].sort(dim=1).values
    parts = tuple(tuple(row) for row in stay.tolist())
    if unit == "layers":
        return Kept(layers=parts[0], heads=whole.heads, neurons=whole.neurons)
    if unit == "heads":
        return Kept(layers=whole.layers, heads=parts, neurons=whole.neurons)
    return Kept(layers=whole.layers, heads=whole.heads, neurons=parts)


@torch.no_grad()
def window_losses(model: Transformer, batches: Sequence[Tokens]) -> Float[np.ndarray, " windows"]:
    """Return the mean loss of each window, in nats a token."""
    return torch.cat([text_loss(model, tokens)(model.final_residual(tokens)) for tokens in batches]).cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class PrunedPoint:
    """A size and an importance.

    Attributes:
        importance: its name.
        removed: parts that went, of each layer or, of layers, in all.
        share: what part of all that is.
        parameters: those that are left.
        loss: mean over held-out windows, nats a token; at random the mean of several draws.
        added: loss less that of the whole model, paired by window.
    """

    importance: str
    removed: int
    share: float
    parameters: int
    loss: Estimate
    added: Estimate

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**vars(self), "loss": self.loss.to_dict(), "added": self.added.to_dict()}


def sizes(unit: Unit, config: TransformerConfig) -> list[int]:
    """Return the numbers of parts that a curve removes."""
    most = most_at(unit, config)
    return sorted({min(max(round(share * (most + 1)), 1), most) for share in SHARES} - {0})


def pruning_curve(
    model: LanguageModel,
    unit: Unit,
    importances: Sequence[str],
    fit: Sequence[Tokens],
    held_out: Sequence[Tokens],
    seed: int = 0,
) -> Iterator[PrunedPoint]:
    """Give the points of a curve one by one, of the whole model first, then size by size.

    Args:
        fit: text that importances are found on.
        held_out: text that the smaller models are judged on.

    Raises:
        InputError: an importance that there is not, or one that this unit can't have.
        UnsupportedModelError: a model whose parts can't go.
    """
    whole = require_decoder(model)
    scores = {name: _scores(whole, unit, name, fit, seed) for name in importances}
    base = window_losses(whole, held_out)
    yield _point("whole", 0, unit, whole, whole, [base], base)
    for removed in sizes(unit, whole.config):
        for name, draws in scores.items():
            smaller = [cut(whole, kept_by(draw, unit, removed, whole.config)) for draw in draws]
            losses = [window_losses(one, held_out) for one in smaller]
            yield _point(name, removed, unit, whole, smaller[0], losses, base)


def pruned(
    model: LanguageModel,
    unit: Unit,
    share: float,
    importance: str,
    fit: Sequence[Tokens],
    held_out: Sequence[Tokens],
    seed: int = 0,
) -> tuple[Transformer, PrunedPoint, PrunedPoint]:
    """Return the smaller model from which a share of the parts has gone, and the figures before and after.

    Raises:
        InputError: a share of which nothing, or all, would go; an importance that there is not.
        UnsupportedModelError: a model whose parts can't go.
    """
    whole = require_decoder(model)
    parts = most_at(unit, whole.config) + 1
    removed = round(share * parts)
    if not 0 < removed < parts:
        each = "" if unit == "layers" else " in each layer"
        raise InputError(f"{share:.0%} of {parts} {unit}{each} is {removed}: choose a share of which some go, not all.")
    scores = importance_named(importance)(whole, fit, unit, seed)
    small = cut(whole, kept_by(scores, unit, removed, whole.config))
    base, after = window_losses(whole, held_out), window_losses(small, held_out)
    before = _point("whole", 0, unit, whole, whole, [base], base)
    return small, before, _point(importance, removed, unit, whole, small, [after], base)


def _scores(model: Transformer, unit: Unit, name: str, fit: Sequence[Tokens], seed: int) -> list[Tensor]:
    importance, draws = importance_named(name), SEEDS if name == "random" else 1
    return [importance(model, fit, unit, seed + draw) for draw in range(draws)]


def _point(
    name: str,
    removed: int,
    unit: Unit,
    whole: Transformer,
    small: Transformer,
    losses: Sequence[Float[np.ndarray, " windows"]],
    base: Float[np.ndarray, " windows"],
) -> PrunedPoint:
    mean = np.mean(losses, axis=0)
    return PrunedPoint(
        importance=name,
        removed=removed,
        share=removed / (most_at(unit, whole.config) + 1),
        parameters=parameters(small),
        loss=bootstrap_mean(mean),
        added=bootstrap_mean(mean - base),
    )


def parameters(model: Transformer) -> int:
    """Return the number of parameters."""
    return sum(one.numel() for one in model.parameters())


def verdict(points: Sequence[PrunedPoint], name: str) -> str:
    """Return sentences that say at how many sizes an importance adds less loss than magnitude and chance."""
    by_size: dict[int, dict[str, PrunedPoint]] = {}
    for point in points:
        by_size.setdefault(point.removed, {})[point.importance] = point
    compared = [ones for ones in by_size.values() if name in ones]
    rivals = [one for one in ("magnitude", "random") if one != name and any(one in ones for ones in compared)]
    n = len(compared)
    return " ".join(
        f"Pruned by {name}, the model loses less than by {one} at {_wins(compared, name, one)} of {n} sizes."
        for one in rivals
    )


def _wins(compared: Sequence[dict[str, PrunedPoint]], name: str, rival: str) -> int:
    return sum(ones[name].loss.value < ones[rival].loss.value for ones in compared)
