"""Continuing texts: greedily or by sampling, many at once, token by token, with whatever edits are attached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import Any, overload

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import InputError
from monosema.models.batch import Batch
from monosema.models.chat import Message
from monosema.models.context import KVCache, Role
from monosema.models.row import Generation, GenerationConfig, Piece, ReadPrompt, Row
from monosema.models.tokenizer import Tokenizer

Prompt = str | Sequence[int] | Sequence[Message]
"""A text, token ids that are taken as they are, or the messages of a chat."""


class TextGeneration(ABC):
    """Completion and chat for any model that gives the logits of a next token."""

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back."""

    @property
    @abstractmethod
    def context(self) -> int:
        """Longest sequence that the model is made for, in tokens."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Device of the weights."""

    @property
    def can_cache(self) -> bool:
        """True if `next_logits` can go on from a cache."""
        return True

    @property
    def gives_logits(self) -> bool:
        """True if the model gives the logits of next tokens at all."""
        return True

    @abstractmethod
    def next_logits(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        roles: Tensor | None = None,
    ) -> Float[Tensor, "batch vocab"]:
        """Return the logits after the last position."""

    @overload
    def generate(self, prompts: Prompt, **settings: Any) -> Generation: ...
    @overload
    def generate(self, prompts: Sequence[Prompt], **settings: Any) -> list[Generation]: ...
    def generate(self, prompts: Any, **settings: Any) -> Generation | list[Generation]:
        """Continue a prompt, or many at once; edits that are attached hold at every step.

        Args:
            prompts: a text, its token ids or the messages of a chat, or a sequence of any of these.
            settings: fields of `GenerationConfig`: max_new_tokens, temperature (0: greedy), top_k, top_p, seed, …

        Raises:
            ConfigError: a setting that does not exist, or whose value is not valid.
            InputError: an empty prompt, or one that fills the whole context.
            AnomalyError: logits that are not finite.
        """
        batch = self._batch(prompts, settings)
        rows = batch.rows
        while self._step(batch):
            pass
        results = [row.result() for row in rows]
        return results[0] if _is_one(prompts) else results

    def stream(self, prompts: Any, **settings: Any) -> Generator[Piece]:
        """Continue prompts as `generate` does, and give each token as soon as it is drawn, row by row in each step.

        Nothing is computed ahead: a caller that stops reading, or calls `close`, ends the work, and nothing stays
        attached that the caller's own blocks don't hold. Read it within the blocks whose edits are to hold.
        """
        batch = self._batch(prompts, settings)
        return (row.piece() for rows in iter(lambda: self._step(batch), []) for row in rows)

    def chat(self, messages: Sequence[Message], **settings: Any) -> Generation:
        """Return the model's answer to messages (``[{"role": "user", "content": "…"}, …]``), written by its template.

        Raises:
            InputError: the model has no chat template, or its template refuses the messages.
        """
        (answer,) = self.generate([messages], **settings)
        return answer

    def _batch(self, prompts: Any, settings: Mapping[str, Any]) -> Batch:
        """Rows that stay in their order to the end, so that edits see the same rows."""
        config = GenerationConfig(**settings)
        given = [prompts] if _is_one(prompts) else list(prompts)
        prompts = [read_prompt(one, self.tokenizer, config) for one in given]
        if not isinstance(config.seed, int) and len(config.seed) != len(prompts):
            raise InputError(
                f"seed holds {len(config.seed)} seeds for {len(prompts)} prompts: give one, or one for each prompt."
            )
        batch, copies = Batch(self, use_cache=config.use_cache), Counter[tuple[int, ...]]()
        for index, prompt in enumerate(prompts):
            key = tuple(prompt.ids)
            batch.join([Row(self, prompt, config, index, copy=copies[key])])
            copies[key] += isinstance(config.seed, int)
        return batch

    @staticmethod
    def _step(batch: Batch) -> list[Row]:
        given = batch.step()
        for row in given:
            if row.failure is not None:
                raise row.failure
        return given


def _is_one(prompts: Any) -> bool:
    return isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], (int, Mapping)))


def read_prompt(prompt: Prompt, tokenizer: Tokenizer, config: GenerationConfig) -> ReadPrompt:
    """Return a prompt's tokens and their roles. Raises InputError for messages where there is no chat template."""
    if isinstance(prompt, str):
        ids = tokenizer.encode(prompt, config.bos)
        return ReadPrompt(prompt, ids, [Role.PROMPT] * len(ids))
    if len(prompt) and isinstance(prompt[0], Mapping):
        template = tokenizer.chat_template
        if template is None:
            raise InputError("This model has no chat template: it continues texts only. Give it a text, not a chat.")
        text, contents = template.render_with_contents(prompt)  # type: ignore[arg-type]
        ids, spans = tokenizer.encode_with_spans(text)
        within = [any(start < last and first < end for first, last in contents) for start, end in spans]
        return ReadPrompt(text, ids, [Role.PROMPT if inside else Role.TEMPLATE for inside in within])
    ids = [int(id) for id in prompt if not isinstance(id, Mapping)]
    return ReadPrompt(tokenizer.decode(ids), ids, [Role.PROMPT] * len(ids))
