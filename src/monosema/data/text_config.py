"""How text becomes batches of tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from monosema.core import Config
from monosema.data.split import Split


class TextConfig(Config):
    """How documents are cut, batched and split."""

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
    """Which documents: those for training, the held-out ones, or all."""
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
