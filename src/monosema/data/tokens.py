"""Batches of tokens that know where each token comes from, and the configuration that makes them from text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor

from monosema.core import Config
from monosema.data.corpus import Split


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Rows of tokens with their origin; all tensors lie on the CPU.

    Attributes:
        tokens: token ids; padding on the right.
        attention_mask: False at padding.
        document: id of the document of each token; -1 for tokens that no document holds (BOS, EOS and padding
            that were added).
        position: index of the token in its document, counted in tokens from 0; -1 for added tokens.
        keep: whether the activation at this token is for dictionary training. False at padding, at special tokens (in
            chats: at those that were added or begin a row), and, where the tokenizer has neither BOS nor EOS to begin a
            row with, at the first token of each row: there the model's attention comes to rest, with norms that are
            tens of times the usual.
    """

    tokens: Int[Tensor, "batch pos"]
    attention_mask: Bool[Tensor, "batch pos"]
    document: Int[Tensor, "batch pos"]
    position: Int[Tensor, "batch pos"]
    keep: Bool[Tensor, "batch pos"]

    def head(self, rows: int) -> TokenBatch:
        """The first rows alone."""
        return TokenBatch(
            self.tokens[:rows],
            self.attention_mask[:rows],
            self.document[:rows],
            self.position[:rows],
            self.keep[:rows],
        )

    def rows_until(self, kept: int) -> int:
        """Number of rows, from the first, that hold at least `kept` kept tokens; all rows if they hold fewer."""
        total = torch.cumsum(self.keep.sum(dim=1), dim=0)
        return min(int((total < kept).sum()) + 1, len(total))


def text_hash(batches: Iterable[TokenBatch]) -> str:
    """Hash of the tokens of batches, of which are kept, and of their documents."""
    state = hashlib.sha256()
    for batch in batches:
        for tensor in (batch.tokens, batch.keep, batch.document):
            state.update(str(tuple(tensor.shape)).encode())
            state.update(tensor.contiguous().numpy().tobytes())
    return state.hexdigest()[:16]


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into token ids."""

    @property
    def bos_id(self) -> int | None:
        """Id of the token that begins a sequence."""
        ...

    @property
    def eos_id(self) -> int | None:
        """Id of the token that ends a sequence."""
        ...

    @property
    def pad_id(self) -> int | None:
        """Id of the padding token."""
        ...

    def encode_batch(self, texts: Sequence[str], bos: bool = ...) -> list[list[int]]:
        """Token ids of each text."""
        ...


class TextConfig(Config):
    """Configuration of the batches: cutting, splits and sinks."""

    mode: Literal["windows", "sentences"] = "windows"
    """Packed windows of equal length, or one sentence a row (as in the Llama-3.2 pipeline)."""
    window: int = Field(128, ge=2)
    """Tokens in a packed window, its BOS included."""
    max_sentence: int = Field(192, ge=2)
    """Tokens in a sentence at most, its BOS included; a longer sentence goes on in the next row."""
    batch: int = Field(32, ge=1)
    """Windows or sentences in a batch."""
    tokens: int | None = Field(None, ge=1)
    """Stop at the end of the row in which this many tokens are kept; None reads the whole split."""
    split: Split = "train"
    """Split of the documents: those for training, the held-out ones, or all."""
    heldout_share: float = Field(0.05, ge=0.0, le=1.0)
    """Share of documents, by hash of their text, that the training split never sees."""
    include_sinks: bool = False
    """Keep BOS, EOS and first-position tokens too: their norms are extreme, and they poison dictionaries."""
    skip_first: int = Field(0, ge=0)
    """Tokens at the beginning of each row that are left out, whatever they are, unless sinks are kept: some models make
    a sink of many tokens that follow the first."""
    chat_share: float = Field(0.0, ge=0.0, le=1.0)
    """Share of documents, by hash of their text, that are written as chats through the model's template; windows only.
    The template's tokens are kept there."""
