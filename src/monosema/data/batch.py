"""A batch of tokens that knows where each of its tokens comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


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
