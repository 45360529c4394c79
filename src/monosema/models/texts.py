"""Models of text as people call them: with texts in the place of token ids, and one line that says what they are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from monosema.core import InputError, Site
from monosema.models.context import padded
from monosema.models.generation import TextGeneration
from monosema.models.hooks import Captured, HookedModel


def token_rows(tokens: Any) -> Int[Tensor, "batch pos"]:
    """Return ids of tokens, of torch, numpy or in lists, as rows; one row of its own is a batch of one.

    Raises InputError for texts, and for what can't be ids.
    """
    first = tokens[0] if isinstance(tokens, (list, tuple)) and tokens else tokens
    if isinstance(first, str):
        raise InputError(
            "The model itself takes ids of tokens, not text: call model.activations(text), model.run_with_cache(text) "
            "or model(model.to_tokens(text))."
        )
    try:
        ids = torch.as_tensor(tokens)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"Ids of tokens must be a matrix of whole numbers, not {type(tokens).__name__}.") from None
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise InputError(f"Ids of tokens must be whole numbers, not {str(ids.dtype)[6:]}: convert them by .long().")
    if ids.ndim not in (1, 2):
        raise InputError(f"Ids of tokens must have the shape [batch, pos], not {list(ids.shape)}.")
    ids = ids[None] if ids.ndim == 1 else ids
    return ids if ids.dtype in (torch.int64, torch.int32) else ids.long()


class TextModel(HookedModel, TextGeneration):
    """Base of `Transformer` and `AdaptedModel`: reading of texts."""

    name: str

    def to_tokens(self, texts: str | Sequence[str], bos: bool = True) -> Int[Tensor, "batch pos"]:
        """Return the ids of texts, one row each, filled up on the right; with `bos` as `Tokenizer.encode` begins them.

        Raises InputError where the model has no tokenizer, or a text has no tokens.
        """
        return self._padded(texts, bos)[0]

    def to_string(self, tokens: Int[Tensor, "*batch pos"] | Sequence[int], skip_special: bool = False) -> Any:
        """Return the text of ids; of several rows, a list of texts."""
        ids = torch.as_tensor(tokens)
        if ids.ndim > 1:
            return [self.to_string(row, skip_special) for row in ids]
        return self.tokenizer.decode(ids.tolist(), skip_special)

    def run_with_cache(
        self, inputs: Any, sites: Sequence[Site | str] | None = None, attention_mask: Any = None
    ) -> tuple[Any, Captured]:
        """Return what the model gives, and the activations at the sites; arguments as for `activations`."""
        tokens, mask = self._inputs(inputs, attention_mask)
        with torch.no_grad(), self.capture(*(self._ordinary_sites() if sites is None else sites)) as got:
            return self(tokens, mask), got

    def _inputs(self, given: Any, attention_mask: Any) -> tuple[Any, Any]:
        if isinstance(given, str) or (isinstance(given, (list, tuple)) and given and isinstance(given[0], str)):
            return self._padded(given, bos=True)
        if isinstance(given, Tensor) and given.ndim == 1 and not given.is_floating_point():
            return given[None], attention_mask
        if isinstance(given, (list, tuple)) and not given:
            raise InputError("There is no text among the inputs: the list is empty. Give one at least.")
        return given, attention_mask

    def _padded(self, texts: str | Sequence[str], bos: bool) -> tuple[Tensor, Tensor | None]:
        """Ids of texts, and where there is a token; None where there is one everywhere."""
        rows = self.tokenizer.encode_batch([texts] if isinstance(texts, str) else texts, bos)
        if not all(rows):
            raise InputError(f"Text {[bool(row) for row in rows].index(False)} has no tokens. Give one with words.")
        tokens = padded(rows, self.tokenizer.pad_id or 0).to(self.device)
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        mask = torch.arange(tokens.shape[1], device=self.device) < lengths[:, None]
        return tokens, None if bool(mask.all()) else mask

    @abstractmethod
    def __call__(self, *args: Any, **named: Any) -> Any:
        """Return the logits."""
