"""Fluency and divergence: written texts read once more by the unsteered model, and by the steered one.

    perplexity = exp(mean over written tokens of −log p₀(token | what came before))            p₀: unsteered
    KL         = mean over written tokens of Σ_v p(v) (log p(v) − log p₀(v))                   p: as it was steered

KL is in nats a token, at the places that the text came to, not on other texts. Of a text that was written after a
prefix, p₀ reads the prompt without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.models import LanguageModel, ReadPrompt, Role
from monosema.models.context import padded
from monosema.steering.edits import Steering
from monosema.steering.steered import SteeredBatch, SteeredRow


@dataclass(frozen=True)
class Written:
    """A text as its model read and wrote it.

    Attributes:
        plain: the prompt without what a baseline put before it.
        given: the prompt that the text was written after.
        tokens: ids that were written.
        steering: what held meanwhile; None for nothing.
    """

    plain: ReadPrompt
    given: ReadPrompt
    tokens: tuple[int, ...]
    steering: Steering | None = None


@dataclass(frozen=True)
class Likelihood:
    """Sums over the written tokens of one text.

    Attributes:
        surprisal: −Σ log p₀ of the tokens, in nats.
        divergence: Σ KL(p ‖ p₀), in nats.
        tokens: number of tokens.
    """

    surprisal: float
    divergence: float
    tokens: int


def likelihoods(
    model: LanguageModel, texts: Sequence[Written], memory_mb: int = 512
) -> Iterator[tuple[int, Likelihood]]:
    """Measure texts, several at once within some memory for logits; yields the index of each with what was found."""
    order = sorted(range(len(texts)), key=lambda row: _length(texts[row]), reverse=True)
    while order:
        # Two passes' logits, their logarithms and a product, in float32.
        rows = max(1, memory_mb * 2**20 // (5 * 4 * model.vocab * _length(texts[order[0]])))
        chunk, order = order[:rows], order[rows:]
        with torch.inference_mode():
            found = _measure(model, [texts[row] for row in chunk])
        yield from zip(chunk, found, strict=True)


def _length(text: Written) -> int:
    return len(text.given.ids) + len(text.tokens)


def _measure(model: LanguageModel, texts: Sequence[Written]) -> list[Likelihood]:
    plain = _log_probabilities(model, [(text.plain, text.tokens) for text in texts])
    edited = [row for row, text in enumerate(texts) if _moved(text)]
    parts = dict.fromkeys(range(len(texts)), 0.0)
    if edited:
        chosen = [texts[row] for row in edited]
        with SteeredBatch(model) as batch:
            batch.rows = [None if text.steering is None else SteeredRow(text.steering) for text in chosen]
            moved = _log_probabilities(model, [(text.given, text.tokens) for text in chosen])
        for row, after in zip(edited, moved, strict=True):
            parts[row] = float((after.exp() * (after - plain[row])).sum())
    return [
        Likelihood(-float(log.gather(1, _column(text.tokens, log)).sum()), parts[row], len(text.tokens))
        for row, (text, log) in enumerate(zip(texts, plain, strict=True))
    ]


def _moved(text: Written) -> bool:
    return bool(text.tokens) and (text.steering is not None or text.plain != text.given)


def _column(tokens: Sequence[int], like: Tensor) -> Int[Tensor, "n 1"]:
    return torch.tensor(list(tokens), dtype=torch.int64, device=like.device)[:, None]


def _log_probabilities(
    model: LanguageModel, texts: Sequence[tuple[ReadPrompt, tuple[int, ...]]]
) -> list[Float[Tensor, "written vocab"]]:
    """Return the logarithms of the distributions that each written token was drawn from."""
    ids = [prompt.ids + list(tokens) for prompt, tokens in texts]
    roles = [prompt.roles + [int(Role.GENERATED)] * len(tokens) for prompt, tokens in texts]
    # Padding behind a text changes nothing before it.
    tokens = padded(ids, model.tokenizer.pad_id or 0).to(model.device)
    kinds = padded(roles, Role.PADDING).to(model.device)
    logits = model(tokens, attention_mask=kinds != Role.PADDING, roles=kinds)
    return [
        logits[row, len(prompt.ids) - 1 : len(prompt.ids) - 1 + len(written)].float().log_softmax(-1)
        for row, (prompt, written) in enumerate(texts)
    ]
