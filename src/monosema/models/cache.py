"""What a decoder keeps of the tokens it has read, so that each new one costs one position only."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class KVCache:
    """Keys and values of every layer, and which of the positions hold tokens rather than padding.

    Give the same cache to each call with the next tokens: ``model(prompt, mask, cache)``, ``model(next, None, cache)``.
    """

    def __init__(self) -> None:
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._mask: Tensor | None = None

    @property
    def mask(self) -> Bool[Tensor, "batch past"] | None:
        """Which positions so far hold tokens; None while empty."""
        return self._mask

    @property
    def length(self) -> int:
        """Positions so far, padding included."""
        return 0 if self._mask is None else self._mask.shape[1]

    def read(self, mask: Bool[Tensor, "batch pos"]) -> None:
        """Note the positions that a forward pass has added."""
        self._mask = mask if self._mask is None else torch.cat((self._mask, mask), dim=1)

    def extend(
        self, layer: int, k: Float[Tensor, "batch pos kv_head d_head"], v: Float[Tensor, "batch pos kv_head d_head"]
    ) -> tuple[Float[Tensor, "batch total kv_head d_head"], Float[Tensor, "batch total kv_head d_head"]]:
        """Add the keys and values of new positions; gives those of all positions."""
        if layer in self._layers:
            past_k, past_v = self._layers[layer]
            k, v = torch.cat((past_k, k), dim=1), torch.cat((past_v, v), dim=1)
        self._layers[layer] = (k, v)
        return k, v

    def repeat(self, rows: int) -> None:
        """Let each of several rows go on from the one that was read."""
        self._layers = {layer: (_rows(k, rows), _rows(v, rows)) for layer, (k, v) in self._layers.items()}
        self._mask = None if self._mask is None else _rows(self._mask, rows)


def _rows(x: Tensor, rows: int) -> Tensor:
    return x.expand(rows, *x.shape[1:])
