"""Continuing texts: greedily or by sampling, many at once, with whatever edits are attached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from monosema.core import AnomalyError, Config, InputError, torch_generator
from monosema.models.cache import KVCache
from monosema.models.chat import Message
from monosema.models.tokenizer import Tokenizer

Prompt = str | Sequence[int]
"""A text, or token ids that are taken as they are."""
Step = Callable[[Tensor, Tensor, KVCache | None], Tensor]


class GenerationConfig(Config):
    """How texts are continued."""

    max_new_tokens: int = Field(64, gt=0)
    """Most tokens that are added."""
    temperature: float = Field(0.0, ge=0)
    """Logits are divided by this before they are sampled from; 0 takes the most likely token always."""
    top_k: int | None = Field(None, gt=0)
    """Sample among this many most likely tokens only."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Sample among the fewest tokens that together have this probability (Holtzman et al. 2020, arXiv 1904.09751)."""
    seed: int = 0
    """Each prompt's draws depend on this and on its place among the prompts only."""
    stop: tuple[str, ...] = ()
    """Texts at which to stop; they are not part of the result."""
    stop_at_eos: bool = True
    """Whether the token that ends a sequence ends the text."""
    bos: bool = True
    """Whether a text is given the special tokens that the model expects around it."""
    use_cache: bool = True
    """Keep keys and values; without, each step reads the whole text again (slow, the same result)."""


@dataclass(frozen=True)
class Generation:
    """A continued text.

    Attributes:
        prompt: what was given; its decoded tokens where ids were given.
        text: what was added.
        tokens: ids of what was added, the final end token included.
        finish: why it ended: the end token, a stop text, the length that was asked for, or a full context.
    """

    prompt: str
    text: str
    tokens: tuple[int, ...]
    finish: Literal["eos", "stop", "length", "context"]

    def __str__(self) -> str:
        return self.text


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
        """Where the weights are."""

    @property
    def can_cache(self) -> bool:
        """Whether `next_logits` can go on from a cache."""
        return True

    @property
    def gives_logits(self) -> bool:
        """Whether the model gives the logits of next tokens at all."""
        return True

    @abstractmethod
    def next_logits(self, tokens: Tensor, attention_mask: Tensor, cache: KVCache | None) -> Tensor:
        """Logits after the last position, [batch, vocab]."""

    @overload
    def generate(self, prompts: str, **settings: Any) -> Generation: ...
    @overload
    def generate(self, prompts: Sequence[int], **settings: Any) -> Generation: ...
    @overload
    def generate(self, prompts: Sequence[str] | Sequence[Sequence[int]], **settings: Any) -> list[Generation]: ...
    def generate(self, prompts: Any, **settings: Any) -> Generation | list[Generation]:
        """Continue a prompt, or many at once; edits that are attached hold at every step.

        Args:
            prompts: a text or its token ids, or a sequence of either.
            settings: fields of `GenerationConfig`: max_new_tokens, temperature (0: greedy), top_k, top_p, seed, …

        Raises:
            ConfigError: a setting that does not exist, or whose value is not valid.
            InputError: an empty prompt, or one that fills the whole context.
        """
        config = GenerationConfig(**settings)
        if isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], int)):
            return self._continue([prompts], config)[0]
        return self._continue(list(prompts), config)

    def chat(self, messages: Sequence[Message], **settings: Any) -> Generation:
        """The model's answer to messages (``[{"role": "user", "content": "…"}, …]``), written as its template says.

        Raises:
            InputError: the model has no chat template, or its template refuses the messages.
        """
        template = self.tokenizer.chat_template
        if template is None:
            raise InputError("This model has no chat template: it continues texts only. Use generate with a text.")
        return self._continue([template.render(messages)], GenerationConfig(**{"bos": False, **settings}))[0]

    def _continue(self, prompts: list[Prompt], config: GenerationConfig) -> list[Generation]:
        config = config.replace(use_cache=config.use_cache and self.can_cache)
        return generate_texts(
            self.next_logits, self.tokenizer, prompts, config, context=self.context, device=self.device
        )


def next_token_probabilities(
    logits: Float[Tensor, "batch vocab"], config: GenerationConfig
) -> Float[Tensor, "batch vocab"]:
    """What the next token is drawn from: softmax(logits / temperature) within top_k, then top_p, renormalised."""
    logits = logits.float()
    if config.temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()
    logits = logits / config.temperature
    if config.top_k is not None and config.top_k < logits.shape[-1]:
        least = logits.topk(config.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    probabilities = logits.softmax(-1)
    if config.top_p is not None:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        kept = torch.zeros_like(probabilities).scatter(-1, order, ordered * (before < config.top_p))
        probabilities = kept / kept.sum(-1, keepdim=True)
    return probabilities


@torch.no_grad()
def generate_texts(
    step: Step,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    config: GenerationConfig,
    *,
    context: int,
    device: torch.device,
) -> list[Generation]:
    """Continue each prompt.

    Args:
        step: from (tokens, attention_mask, cache) to logits of the last position, [batch, vocab].
        tokenizer: the model's.
        prompts: texts or ids, of any lengths; they are padded on the left.
        config: how.
        context: most positions that the model can read.
        device: where the model is.

    Raises:
        InputError: no prompts, an empty one, or one that fills the whole context.
        AnomalyError: logits that are not finite.
    """
    rows = [_ids(prompt, tokenizer, config.bos) for prompt in prompts]
    _check_lengths(rows, context)
    if not rows:
        return []
    writer = _Writer(tokenizer, rows, config, context)
    tokens, mask = _pad_left(rows, tokenizer.pad_id or 0, device)
    cache = KVCache() if config.use_cache else None
    logits = step(tokens, mask, cache)
    while True:
        drawn = writer.draw(logits)
        if writer.done:
            return writer.results(prompts)
        new = torch.tensor(drawn, device=device)[:, None]
        going_on = torch.tensor([end is None for end in writer.finish], device=device)[:, None]
        if cache is not None:
            logits = step(new, going_on, cache)
        else:
            tokens, mask = torch.cat((tokens, new), dim=1), torch.cat((mask, going_on), dim=1)
            logits = step(tokens, mask, None)


class _Writer:
    """Draws tokens for each row and knows when it ends."""

    def __init__(self, tokenizer: Tokenizer, rows: list[list[int]], config: GenerationConfig, context: int) -> None:
        self.tokenizer, self.config = tokenizer, config
        self.ends = tokenizer.end_ids if config.stop_at_eos else frozenset[int]()
        self.prompts = rows
        self.written: list[list[int]] = [[] for _ in rows]
        self.texts: list[str | None] = [None] * len(rows)
        self.finish: list[Literal["eos", "stop", "length", "context"] | None] = [None] * len(rows)
        self.room = [context - len(row) for row in rows]
        self.generators = [torch_generator(config.seed, "generate", index) for index in range(len(rows))]

    @property
    def done(self) -> bool:
        """Whether all rows have ended."""
        return all(self.finish)

    def draw(self, logits: Float[Tensor, "batch vocab"]) -> list[int]:
        """The next token of each row. Rows that have ended stay, as padding, so that edits see the same rows.

        Raises AnomalyError where the logits of a row have no finite maximum.
        """
        require_finite(logits, [end is None for end in self.finish])
        if self.config.temperature == 0:
            drawn = logits.argmax(-1).tolist()
        else:
            probabilities = next_token_probabilities(logits, self.config).cpu()
            drawn = [
                int(torch.multinomial(row, 1, generator=generator)) if end is None else 0
                for row, generator, end in zip(probabilities, self.generators, self.finish, strict=True)
            ]
        for row, token in enumerate(drawn):
            if self.finish[row] is None:
                self._write(row, token)
        return drawn

    def _write(self, row: int, token: int) -> None:
        written = self.written[row]
        written.append(token)
        if token in self.ends:
            self.finish[row] = "eos"
        elif self.config.stop and (cut := self._stop_at(row)) is not None:
            self.finish[row], self.texts[row] = "stop", cut
        elif len(written) >= self.config.max_new_tokens:
            self.finish[row] = "length"
        elif len(written) >= self.room[row]:
            self.finish[row] = "context"

    def _stop_at(self, row: int) -> str | None:
        text = self._text(row)
        found = [at for stop in self.config.stop if (at := text.find(stop)) >= 0]
        return text[: min(found)] if found else None

    def _text(self, row: int) -> str:
        """What was added: the text of all tokens less that of the prompt, as some tokenizers drop a leading space."""
        prompt = self.tokenizer.decode(self.prompts[row])
        whole = self.tokenizer.decode(self.prompts[row] + self.written[row])
        return whole[len(prompt) :] if whole.startswith(prompt) else self.tokenizer.decode(self.written[row])

    def results(self, prompts: Sequence[Prompt]) -> list[Generation]:
        """What has become of each prompt."""
        results = []
        for row, prompt in enumerate(prompts):
            text, finish = self.texts[row], self.finish[row]
            results.append(
                Generation(
                    prompt=prompt if isinstance(prompt, str) else self.tokenizer.decode(self.prompts[row]),
                    text=self._text(row) if text is None else text,
                    tokens=tuple(self.written[row]),
                    finish=finish or "length",
                )
            )
        return results


def require_finite(logits: Float[Tensor, "batch vocab"], needed: Sequence[bool]) -> None:
    """Raise AnomalyError where the logits of a row that is needed have no finite maximum."""
    usable = logits.amax(dim=-1).isfinite().tolist()
    if all(good or not need for good, need in zip(usable, needed, strict=True)):
        return
    precision = str(logits.dtype).removeprefix("torch.")
    cause = "Its weights, or an edit that is attached, hold values that are no numbers."
    if logits.dtype == torch.float16:
        cause = "It computes values beyond the range of float16: load it with dtype='bfloat16' or 'float32'."
    raise AnomalyError(f"The model's logits are not finite, so there is no next token ({precision}). {cause}")


def _ids(prompt: Prompt, tokenizer: Tokenizer, bos: bool) -> list[int]:
    return tokenizer.encode(prompt, bos) if isinstance(prompt, str) else [int(id) for id in prompt]


def _check_lengths(rows: list[list[int]], context: int) -> None:
    for index, row in enumerate(rows):
        if not row:
            raise InputError(f"Prompt {index} has no tokens, so there is nothing to continue.")
        if len(row) >= context:
            raise InputError(f"Prompt {index} has {len(row)} tokens; the model's context of {context} leaves no room.")


def _pad_left(
    rows: list[list[int]], pad: int, device: torch.device
) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
    width = max(map(len, rows))
    tokens = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows], device=device)
    return tokens, mask
