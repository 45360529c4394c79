"""Continuing texts: greedily or by sampling, many at once, token by token, with whatever edits are attached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from monosema.core import AnomalyError, Config, InputError, derive_seed, torch_generator
from monosema.models.chat import Message
from monosema.models.context import KVCache, Role
from monosema.models.tokenizer import Tokenizer

Prompt = str | Sequence[int] | Sequence[Message]
"""A text, token ids that are taken as they are, or the messages of a chat."""
Finish = Literal["eos", "stop", "length", "context"]


class GenerationConfig(Config):
    """Settings of generation."""

    max_new_tokens: int = Field(64, gt=0)
    """Maximum number of tokens that are added."""
    temperature: float = Field(0.0, ge=0)
    """Logits are divided by this before they are sampled from; 0 takes the most likely token always."""
    top_k: int | None = Field(None, gt=0)
    """Sample among this many most likely tokens only."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Sample among the fewest tokens that together have this probability (Holtzman et al. 2020, arXiv 1904.09751)."""
    seed: int | tuple[int, ...] = 0
    """The draw of each token depends on this, the prompt's tokens and the position only: a prompt is continued the same
    way in any batch. Copies of one prompt in a call differ, by their number among the copies. Several seeds are one for
    each row: rows of the same prompt and seed then draw with the same noise, and differ only by what edits them (the
    likeliest of p / Exponential noise is drawn, so that texts part where their distributions do)."""
    stop: tuple[str, ...] = ()
    """Texts at which to stop; they are not part of the result."""
    stop_at_eos: bool = True
    """True if the token that ends a sequence ends the text."""
    bos: bool = True
    """True if a text is given the special tokens that the model expects around it; a chat's template has its own."""
    use_cache: bool = True
    """Keep keys and values; without, each step reads the whole text again (slow, the same result)."""


@dataclass(frozen=True)
class Generation:
    """A continued text.

    Attributes:
        prompt: the text that was given; decoded, where ids were given, and as the template writes it, for messages.
        text: the text that was added.
        tokens: ids of the text that was added, the final end token included.
        finish: why it ended: the end token, a stop text, the length that was asked for, or a full context.
    """

    prompt: str
    text: str
    tokens: tuple[int, ...]
    finish: Finish

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Piece:
    """A token of a text that is being written.

    Attributes:
        row: index of the prompt.
        token: its id.
        text: what can be shown now; of one text, the pieces add up to `Generation.text`. It is empty while a character
            or a stop text may be incomplete.
        finish: why the text ends with this token; None while it goes on.
    """

    row: int
    token: int
    text: str
    finish: Finish | None


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
        writer = self._writer(prompts, settings)
        for _ in writer.steps(self):
            pass
        results = [writer.result(row) for row in range(len(writer.prompts))]
        return results[0] if _is_one(prompts) else results

    def stream(self, prompts: Any, **settings: Any) -> Generator[Piece]:
        """Continue prompts as `generate` does, and give each token as soon as it is drawn, row by row in each step.

        Nothing is computed ahead: a caller that stops reading, or calls `close`, ends the work, and nothing stays
        attached that the caller's own blocks don't hold. Read it within the blocks whose edits are to hold.
        """
        writer = self._writer(prompts, settings)
        return (writer.piece(row) for rows in writer.steps(self) for row in rows)

    def chat(self, messages: Sequence[Message], **settings: Any) -> Generation:
        """Return the model's answer to messages (``[{"role": "user", "content": "…"}, …]``), written by its template.

        Raises:
            InputError: the model has no chat template, or its template refuses the messages.
        """
        (answer,) = self.generate([messages], **settings)
        return answer

    def _writer(self, prompts: Any, settings: Mapping[str, Any]) -> _Writer:
        config = GenerationConfig(**settings)
        config = config.replace(use_cache=config.use_cache and self.can_cache)
        given = [prompts] if _is_one(prompts) else list(prompts)
        return _Writer(self.tokenizer, [read_prompt(one, self.tokenizer, config) for one in given], config, self)


def _is_one(prompts: Any) -> bool:
    return isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], (int, Mapping)))


def next_token_probabilities(
    logits: Float[Tensor, "batch vocab"], config: GenerationConfig
) -> Float[Tensor, "batch vocab"]:
    """Return the next token's distribution: softmax(logits / temperature) within top_k, then top_p, renormalised."""
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


@dataclass(frozen=True)
class ReadPrompt:
    """A prompt as the model reads it.

    Attributes:
        text: what is read; decoded, where ids were given, and as the template writes it, for messages.
        ids: its tokens.
        roles: the `Role` of each, before special tokens are told apart (`ForwardContext.roles`).
    """

    text: str
    ids: list[int]
    roles: list[int]


def read_prompt(prompt: Prompt, tokenizer: Tokenizer, config: GenerationConfig) -> ReadPrompt:
    """Return a prompt's tokens and their roles. Raises InputError for messages where there is no chat template."""
    if isinstance(prompt, str):
        ids = tokenizer.encode(prompt, config.bos)
        return ReadPrompt(prompt, ids, [Role.PROMPT] * len(ids))
    if len(prompt) and isinstance(prompt[0], Mapping):
        template = tokenizer.chat_template
        if template is None:
            raise InputError("This model has no chat template: it continues texts only. Use generate with a text.")
        text, contents = template.render_with_contents(prompt)  # type: ignore[arg-type]
        ids, spans = tokenizer.encode_with_spans(text)
        within = [any(start < last and first < end for first, last in contents) for start, end in spans]
        return ReadPrompt(text, ids, [Role.PROMPT if inside else Role.TEMPLATE for inside in within])
    ids = [int(id) for id in prompt if not isinstance(id, Mapping)]
    return ReadPrompt(tokenizer.decode(ids), ids, [Role.PROMPT] * len(ids))


class _Writer:
    """Draws tokens for each row, and knows when it ends."""

    def __init__(
        self, tokenizer: Tokenizer, prompts: list[ReadPrompt], config: GenerationConfig, model: TextGeneration
    ) -> None:
        for index, prompt in enumerate(prompts):
            n = len(prompt.ids)
            if not n:
                raise InputError(f"Prompt {index} has no tokens, so there is nothing to continue.")
            if n >= model.context:
                raise InputError(
                    f"Prompt {index} has {n} tokens; the model's context of {model.context} leaves no room."
                )
        self.tokenizer, self.config, self.prompts = tokenizer, config, prompts
        self.ends = tokenizer.end_ids if config.stop_at_eos else frozenset[int]()
        self.written: list[list[int]] = [[] for _ in prompts]
        self.texts: list[str | None] = [None] * len(prompts)
        self.finish: list[Finish | None] = [None] * len(prompts)
        self.room = [model.context - len(prompt.ids) for prompt in prompts]
        self._shown = [0] * len(prompts)
        self._seeds = _row_seeds([tuple(prompt.ids) for prompt in prompts], config.seed)

    def steps(self, model: TextGeneration) -> Iterator[list[int]]:
        """Write on until all rows have ended; yields, after each step, the rows that were given a token."""
        if not self.prompts:
            return
        device, cache = model.device, KVCache() if self.config.use_cache else None
        pad = self.tokenizer.pad_id or 0
        tokens = _pad_left([prompt.ids for prompt in self.prompts], pad).to(device)
        roles = _pad_left([prompt.roles for prompt in self.prompts], Role.PADDING).to(device)
        read, read_roles = tokens, roles
        while True:
            with torch.no_grad():
                logits = model.next_logits(read, read_roles != Role.PADDING, cache, read_roles)
            rows = [row for row, end in enumerate(self.finish) if end is None]
            drawn = torch.tensor(self.draw(logits), device=device)[:, None]
            yield rows
            if all(self.finish):
                return
            # Rows that have ended stay, as padding, so that edits see the same rows.
            new = [Role.GENERATED if end is None else Role.PADDING for end in self.finish]
            new_roles = torch.tensor(new, device=device)[:, None]
            tokens, roles = torch.cat((tokens, drawn), dim=1), torch.cat((roles, new_roles), dim=1)
            read, read_roles = (drawn, new_roles) if cache is not None else (tokens, roles)

    def draw(self, logits: Float[Tensor, "batch vocab"]) -> list[int]:
        """Draw the next token of each row that goes on.

        Raises AnomalyError where the logits of a row have no finite maximum.
        """
        require_finite(logits, [end is None for end in self.finish])
        if self.config.temperature == 0:
            drawn = logits.argmax(-1).tolist()
        else:
            probabilities = next_token_probabilities(logits, self.config).cpu()
            drawn = [0 if end else self._sample(row, probabilities[row]) for row, end in enumerate(self.finish)]
        for row, token in enumerate(drawn):
            if self.finish[row] is None:
                self._write(row, token)
        return drawn

    def _sample(self, row: int, probabilities: Float[Tensor, " vocab"]) -> int:
        position = len(self.prompts[row].ids) + len(self.written[row])
        generator = torch_generator(self._seeds[row], position)
        return int(torch.multinomial(probabilities, 1, generator=generator))

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
        """The text that was added: that of all tokens less the prompt's, as some tokenizers drop a leading space."""
        ids = self.prompts[row].ids
        prompt, whole = self.tokenizer.decode(ids), self.tokenizer.decode(ids + self.written[row])
        return whole[len(prompt) :] if whole.startswith(prompt) else self.tokenizer.decode(self.written[row])

    def piece(self, row: int) -> Piece:
        """Return the row's latest token, with the text that it completes."""
        finish, cut = self.finish[row], self.texts[row]
        text = self._text(row) if cut is None else cut
        end = len(text)
        if finish is None:
            end = len(text.rstrip("\ufffd"))  # of an incomplete character
            for stop in self.config.stop:
                # What may be the beginning of a stop text waits.
                begun = (n for n in range(min(len(stop), end), 0, -1) if text.endswith(stop[:n], 0, end))
                end -= next(begun, 0)
        shown = text[self._shown[row] : end]
        self._shown[row] = max(end, self._shown[row])
        return Piece(row, self.written[row][-1], shown, finish)

    def result(self, row: int) -> Generation:
        """Return the continued text of a row."""
        text = self.texts[row]
        text = self._text(row) if text is None else text
        return Generation(self.prompts[row].text, text, tuple(self.written[row]), self.finish[row] or "length")


def _row_seeds(prompts: Sequence[tuple[int, ...]], seed: int | tuple[int, ...]) -> list[int]:
    """Return the seed of each row's draws, of the call's seed or of one for each row."""
    if isinstance(seed, int):
        copies = [prompts[:row].count(prompt) for row, prompt in enumerate(prompts)]
        return [derive_seed(seed, "generate", *pair) for pair in zip(prompts, copies, strict=True)]
    if len(seed) != len(prompts):
        raise InputError(f"seed holds {len(seed)} seeds for {len(prompts)} prompts: give one, or one for each prompt.")
    return [derive_seed(own, "generate", prompt, 0) for prompt, own in zip(prompts, seed, strict=True)]


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


def _pad_left(rows: Sequence[Sequence[int]], pad: int) -> Int[Tensor, "batch pos"]:
    width = max(map(len, rows))
    return torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows])
