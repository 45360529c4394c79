"""The price of a steering on a prompt: how far it moves the model's predictions, and how strong it is for a price.

    KL = mean over positions of KL(steered ‖ untouched),    in nats a token

over the positions from the prompt's end on, along a text that the untouched model writes: what is edited in the prompt
alone shows there too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import InputError
from monosema.interventions import frozen
from monosema.models import GenerationConfig, LanguageModel, Prompt, Role, TextGeneration, read_prompt
from monosema.steering import SteeredBatch, SteeredRow, Steering

AHEAD = 16
"""Tokens that are written on for the measure."""
ROWS = 16
"""Steerings in one pass."""
LEAST, MOST, NEAR = 2.0**-6, 2.0**9, 0.02
"""Factors of a steering that are tried, and how near to the price the search ends."""


@dataclass(frozen=True)
class Cost:
    """The price of a steering.

    Attributes:
        kl: nats a token.
        unmatched: names of what was not applied: its place selects no token.
    """

    kl: float
    unmatched: tuple[str, ...]


@dataclass(frozen=True)
class HeldRead:
    """A steered model that reads a text with each head's attention held at that of the untouched model.

    Attributes:
        held, free: log-probabilities of what was to be written at each place, with attention held, and without.
        untouched: of the untouched model.
    """

    held: Float[Tensor, "pos vocab"]
    free: Float[Tensor, "pos vocab"]
    untouched: Float[Tensor, "pos vocab"]


class Prices:
    """A prompt with what the untouched model writes after it, on which steerings are priced."""

    def __init__(self, model: LanguageModel, prompt: Prompt, written: Sequence[int] | None = None) -> None:
        """`written`: ids of tokens that stand after the prompt; None for those that the model likes best.

        Raises InputError for a prompt without tokens, one that fills the context, or tokens that the model has not.
        """
        read = read_prompt(prompt, model.tokenizer, GenerationConfig())
        if not read.ids:
            raise InputError("The prompt has no tokens. Write a few words.")
        assert isinstance(model, TextGeneration)
        if written is None:
            written = model.generate(read.ids, max_new_tokens=AHEAD).tokens
        if any(not 0 <= id < model.tokenizer.vocab_size for id in written):
            raise InputError(f"There is no such token: the model knows 0 to {model.tokenizer.vocab_size - 1}.")
        if len(read.ids) + len(written) > model.context:
            raise InputError(f"The text is longer than the model reads at once: {model.context:,} tokens at most.")
        self._model = model
        self._tokens = torch.tensor([[*read.ids, *written]], device=model.device)
        self._roles = torch.tensor([[*read.roles, *[Role.GENERATED] * len(written)]], device=model.device)
        self._from = len(read.ids) - 1
        self._plain = self._read([None])[0]

    @torch.inference_mode()
    def _read(self, rows: Sequence[SteeredRow | None]) -> Float[Tensor, "rows pos vocab"]:
        batch = SteeredBatch(self._model)
        batch.rows = rows
        n = len(rows)
        with batch:
            logits = self._model(self._tokens.repeat(n, 1), roles=self._roles.repeat(n, 1))
        return logits[:, self._from :].float().log_softmax(-1)

    def costs(self, steerings: Sequence[Steering]) -> list[Cost]:
        """Return the price of each."""
        found = []
        for low in range(0, len(steerings), ROWS):
            rows = [SteeredRow(one) for one in steerings[low : low + ROWS]]
            after = self._read(rows)
            divergences = (after.exp() * (after - self._plain)).nan_to_num(0.0).sum(-1).mean(-1)
            for row, divergence in zip(rows, divergences.tolist(), strict=True):
                names = tuple(edit.coordinate.name for edit in row.unmatched)
                found.append(Cost(max(0.0, divergence), names))
        return found

    @torch.inference_mode()
    def held(self, steering: Steering) -> HeldRead:
        """Read the text with attention held: what the steering does without moving where heads look.

        Raises UnsupportedModelError where attention patterns are no sites of the model.
        """
        free = self._read([SteeredRow(steering)])[0]
        with frozen(self._model, self._tokens, norms=False):
            held = self._read([SteeredRow(steering)])[0]
        return HeldRead(held[:-1], free[:-1], self._plain[:-1])

    def strength(self, steering: Steering, kl: float) -> float | None:
        """Find the factor at which a steering has this price; None where none of those tried has."""
        low, high = LEAST, MOST
        found: list[tuple[float, float]] = []
        for _ in range(4):
            step = (high / low) ** (1 / (ROWS - 1))
            factors = [low * step**i for i in range(ROWS)]
            found = list(zip(factors, (one.kl for one in self.costs([steering.at(f) for f in factors])), strict=True))
            above = next((i for i, (_, price) in enumerate(found) if price >= kl), None)
            if above is None:
                return None
            high, price = found[above]
            if above == 0 or abs(price - kl) <= NEAR * kl:
                return high
            low = found[above - 1][0]
            if high / low < 1 + NEAR / 4:
                break
        return math.sqrt(low * high)
