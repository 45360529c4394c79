"""Unsteered texts, on which steerings are made equally strong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from monosema.models import GenerationConfig, LanguageModel, Prompt, Role, read_prompt
from monosema.steering.edits import Steering
from monosema.steering.strength import StrengthSearch, for_divergence, strengths_tried


@dataclass(frozen=True, eq=False)
class UnsteeredTexts:
    """Prompts with what the model wrote after them.

    Attributes:
        model: the writer.
        tokens: ids, padded on the right.
        roles: the `Role` of each.
    """

    model: LanguageModel
    tokens: Int[Tensor, "n pos"]
    roles: Int[Tensor, "n pos"]

    @classmethod
    def write(cls, model: LanguageModel, prompts: Sequence[Prompt], config: GenerationConfig) -> UnsteeredTexts:
        """Continue prompts without any steering."""
        read = [read_prompt(prompt, model.tokenizer, config) for prompt in prompts]
        written = [one.tokens for one in model.generate(list(prompts), **config.to_dict())]
        ids = [one.ids + list(tokens) for one, tokens in zip(read, written, strict=True)]
        roles = [one.roles + [int(Role.GENERATED)] * len(tokens) for one, tokens in zip(read, written, strict=True)]
        width, pad = max(map(len, ids)), model.tokenizer.pad_id or 0
        return cls(
            model,
            torch.tensor([row + [pad] * (width - len(row)) for row in ids]),
            torch.tensor([row + [int(Role.PADDING)] * (width - len(row)) for row in roles]),
        )

    def strengths(self, steerings: Sequence[Steering], kl: float) -> list[float | None]:
        """Find the strength of each steering at which it moves what written tokens were drawn from by `kl` nats."""
        return for_divergence(self.model, steerings, self.tokens, kl, roles=self.roles)

    def search(self, steering: Steering, kl: float) -> StrengthSearch:
        """Find the strength of one steering likewise, and return what was tried."""
        return strengths_tried(self.model, [steering], self.tokens, kl, roles=self.roles)[0]
