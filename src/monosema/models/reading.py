"""What all blocks of one forward pass share: where the tokens stand, and which sees which."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from monosema.core import InputError
from monosema.models.cache import KVCache
from monosema.models.config import RotaryConfig
from monosema.models.rotary import rotation


class Reading:
    """Positions, masks and rotations of one forward pass, each made once.

    Padding takes no part: it has no position, and no token sees it. (A padding position sees itself, so that no row of
    the attention pattern is empty; what it computes is never read.) Padding on the right alone needs no mask, since
    nothing looks ahead.
    """

    def __init__(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Bool[Tensor, "_ _"] | None,
        cache: KVCache | None,
    ) -> None:
        past = 0 if cache is None else cache.length
        if attention_mask is not None and attention_mask.shape != tokens.shape:
            raise InputError(
                f"attention_mask has the shape {tuple(attention_mask.shape)}, tokens {tuple(tokens.shape)}: "
                "give one value for each of the tokens (a cache remembers those before)."
            )
        if cache is not None and cache.mask is not None and cache.mask.shape[0] != tokens.shape[0]:
            raise InputError(f"The cache holds {cache.mask.shape[0]} rows, the tokens are {tokens.shape[0]} rows.")
        if attention_mask is not None:
            attention_mask = attention_mask.bool()
        self.cache = cache
        self.length = tokens.shape[1]
        self.total = past + self.length
        self.device = tokens.device
        whole = self._whole_mask(tokens, attention_mask, cache)
        self._keep = whole
        if whole is None:
            self.positions = torch.arange(past, self.total, device=self.device)[None]
        else:
            self.positions = (whole.cumsum(dim=1) - 1).clamp(min=0)[:, past:]
        self._masks: dict[int | None, Tensor | None] = {}
        self._rotations: dict[RotaryConfig, tuple[Tensor, Tensor]] = {}

    @staticmethod
    def _whole_mask(tokens: Tensor, attention_mask: Tensor | None, cache: KVCache | None) -> Tensor | None:
        """The mask over past and new positions; None where it changes nothing that is read."""
        if cache is None:
            if attention_mask is None or not bool((attention_mask[:, 1:] & ~attention_mask[:, :-1]).any()):
                return None
            return attention_mask
        cache.read(torch.ones_like(tokens, dtype=torch.bool) if attention_mask is None else attention_mask)
        return None if cache.mask is None or bool(cache.mask.all()) else cache.mask

    def is_plainly_causal(self, window: int | None) -> bool:
        """Whether every token sees just itself and all before it, and all of them are new."""
        return self._keep is None and self.total == self.length and (window is None or window >= self.total)

    def mask(self, window: int | None) -> Bool[Tensor, "rows 1 pos total"] | None:
        """Who (third dimension) sees whom (last); None where everyone sees everything."""
        if window not in self._masks:
            self._masks[window] = self._make_mask(window)
        return self._masks[window]

    def _make_mask(self, window: int | None) -> Tensor | None:
        if self.length == 1 and self._keep is None and (window is None or window >= self.total):
            return None
        keys = torch.arange(self.total, device=self.device)
        queries = keys[self.total - self.length :, None]
        seen = keys <= queries
        if window is not None:
            seen &= keys > queries - window
        if self._keep is None:
            return seen[None, None]
        return ((seen & self._keep[:, None, :]) | (keys == queries))[:, None]

    def rotation(self, config: RotaryConfig, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the positions' angles."""
        if config not in self._rotations:
            self._rotations[config] = rotation(config, self.positions, dtype)
        return self._rotations[config]
