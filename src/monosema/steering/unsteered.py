"""Unsteered texts, on which steerings are made equally strong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from monosema.models import GenerationConfig, LanguageModel, Prompt, Role, read_prompt
from monosema.models.context import padded
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
        return cls(model, padded(ids, model.tokenizer.pad_id or 0), padded(roles, Role.PADDING))

    def strengths(self, steerings: Sequence[Steering], kl: float) -> list[float | None]:
        """Find the strength of each steering at which it moves what written tokens were drawn from by `kl` nats."""
        return for_divergence(self.model, steerings, self.tokens, kl, roles=self.roles)

    def search(self, steering: Steering, kl: float) -> StrengthSearch:
        """Find the strength of one steering likewise, and return what was tried."""
        return strengths_tried(self.model, [steering], self.tokens, kl, roles=self.roles)[0]
