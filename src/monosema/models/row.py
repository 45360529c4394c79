"""A text that is being written: what was read, what was added, where it stops, and how each token is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.core import Config, InputError, MonosemaError, derive_seed, torch_generator
from monosema.models.context import Role
from monosema.models.tokenizer import Tokenizer

if TYPE_CHECKING:
    from monosema.models.generation import TextGeneration

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


class Row:
    """A text that is being written; it is given tokens by a `Batch`.

    Args:
        model: writes it.
        prompt: what it goes on from.
        config: how its tokens are drawn, and where it ends.
        index: the number that its pieces bear.
        copy: rows of the same prompt and seed draw the same noise, unless this differs.
        leader: a row that this one repeats token by token, so that the logits of both are of the same text.

    Attributes:
        written: ids that were added.
        finish: why it has ended; None while it goes on.
        failure: the error that ended it.
        logits: those that its latest token was drawn by.

    Raises:
        InputError: an empty prompt, or one that fills the whole context.
    """

    def __init__(
        self,
        model: TextGeneration,
        prompt: ReadPrompt,
        config: GenerationConfig,
        index: int = 0,
        *,
        copy: int = 0,
        leader: Row | None = None,
    ) -> None:
        n = len(prompt.ids)
        if not n:
            raise InputError(f"Prompt {index} has no tokens, so there is nothing to continue.")
        if n >= model.context:
            raise InputError(
                f"Prompt {index} has {n:,} tokens, and the model's context of {model.context:,} leaves no room to "
                f"write. Shorten it to {model.context - 1:,} or fewer, or take a model with a longer context."
            )
        self.prompt, self.config, self.index, self.leader = prompt, config, index, leader
        self.written: list[int] = []
        self.finish: Finish | None = None
        self.failure: MonosemaError | None = None
        self.logits: Float[Tensor, " vocab"] | None = None
        self._tokenizer: Tokenizer = model.tokenizer
        self._ends = model.tokenizer.end_ids if config.stop_at_eos else frozenset[int]()
        self._room = model.context - n
        seed = config.seed if isinstance(config.seed, int) else config.seed[index]
        self._seed = derive_seed(seed, "generate", tuple(prompt.ids), copy)
        self._before = model.tokenizer.decode(prompt.ids)
        self._cut: str | None = None
        self._shown = 0

    @property
    def ended(self) -> bool:
        """True if it is given no more tokens."""
        return self.finish is not None or self.failure is not None

    @property
    def tokens(self) -> list[int]:
        """Ids of the whole text."""
        return self.prompt.ids + self.written

    @property
    def roles(self) -> list[int]:
        """The `Role` of each token of the whole text."""
        return self.prompt.roles + [Role.GENERATED] * len(self.written)

    def sample(self, probabilities: Float[Tensor, " vocab"]) -> int:
        """Draw the next token by the noise of its position."""
        generator = torch_generator(self._seed, len(self.prompt.ids) + len(self.written))
        return int(torch.multinomial(probabilities, 1, generator=generator))

    def write(self, token: int) -> None:
        """Add a token, and see whether the text ends with it."""
        self.written.append(token)
        if token in self._ends:
            self.finish = "eos"
        elif self.config.stop and (cut := self._stop_at()) is not None:
            self.finish, self._cut = "stop", cut
        elif len(self.written) >= self.config.max_new_tokens:
            self.finish = "length"
        elif len(self.written) >= self._room:
            self.finish = "context"

    def follow(self, leader: Row) -> None:
        """Add the token that the leader was given in this step, or end as it did."""
        if leader.failure is not None:
            self.failure = leader.failure
        elif not self.ended:
            self.write(leader.written[len(self.written)])

    @property
    def text(self) -> str:
        """The text that was added: that of all tokens less the prompt's, as some tokenizers drop a leading space."""
        if self._cut is not None:
            return self._cut
        whole = self._tokenizer.decode(self.tokens)
        if whole.startswith(self._before):
            return whole[len(self._before) :]
        return self._tokenizer.decode(self.written)

    def _stop_at(self) -> str | None:
        text = self.text
        found = [at for stop in self.config.stop if (at := text.find(stop)) >= 0]
        return text[: min(found)] if found else None

    def piece(self) -> Piece:
        """Return the latest token, with the text that it completes; ask once for each token."""
        text = self.text
        end = len(text)
        if self.finish is None:
            end = len(text.rstrip("\ufffd"))  # of an incomplete character
            for stop in self.config.stop:
                # What may be the beginning of a stop text waits.
                begun = (n for n in range(min(len(stop), end), 0, -1) if text.endswith(stop[:n], 0, end))
                end -= next(begun, 0)
        shown = text[self._shown : end]
        self._shown = max(end, self._shown)
        return Piece(self.index, self.written[-1], shown, self.finish)

    def result(self) -> Generation:
        """Return the continued text."""
        return Generation(self.prompt.text, self.text, tuple(self.written), self.finish or "length")
