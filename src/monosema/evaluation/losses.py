"""Cross-entropies and divergences of several versions of a model's output, without ever holding their logits.

Logits of a large vocabulary are the largest thing in an evaluation by far. They are made, from rows of the final
residual stream, in chunks that fit the processor's cache, always in the same buffers: nothing grows with the text.

    CE = log Σ exp z − z[target]
    KL = Σ p (z° − z) + log Σ exp z − log Σ exp z°,   p = softmax(z°),   z° the clean logits
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

Unembed = Callable[[Tensor, Tensor], Tensor]
"""From rows of the final residual stream, and room for their logits, to the logits."""

CHUNK_BYTES = 24 * 2**20
"""Size of a chunk's logits in float32: measured best where it fits the last-level cache."""
CHUNK_ROWS = 64
"""Rows of a chunk where that is less, so that the product with the unembedding is one of matrices."""
ROOMS = 5
"""Chunks of logits at once: four of float32 and one in the precision of the model."""


def losses_dense(
    clean: Float[Tensor, "n vocab"], versions: Sequence[Float[Tensor, "n vocab"]], targets: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "all n"], Float[Tensor, "all n"]]:
    """The readable twin of `Losses`, from whole logits."""
    logs = torch.stack([clean, *versions]).float().log_softmax(dim=2)
    ce = -logs.gather(2, targets.expand(len(logs), -1)[..., None])[..., 0]
    return ce, (logs[0].exp() * (logs[0] - logs)).sum(dim=2)


class Losses:
    """Losses of versions beside the clean output, chunk by chunk."""

    def __init__(self, vocab: int, unembed: Unembed | None = None, memory_mb: float = 256.0) -> None:
        """Args: unembed: None where what is given are the logits themselves. memory_mb: for the chunks of logits."""
        self._vocab, self._unembed = vocab, unembed
        room = int(memory_mb * 1e6 / (4 * ROOMS * vocab))
        self._step = max(1, min(room, max(CHUNK_ROWS, CHUNK_BYTES // (4 * vocab))))
        self._rooms: dict[str, Tensor] = {}

    def __call__(
        self, clean: Float[Tensor, "n width"], versions: Sequence[Float[Tensor, "n width"]], targets: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "all n"], Float[Tensor, "all n"]]:
        """Cross-entropies and divergences in nats, in fp32: of the clean output, then of each version."""
        ce = torch.empty(1 + len(versions), len(clean), device=clean.device)
        kl = torch.zeros_like(ce)
        for start in range(0, len(clean), self._step):
            rows = slice(start, min(start + self._step, len(clean)))
            wanted = targets[rows, None]
            z = self._logits("clean", clean[rows])
            p = self._room("p", len(z), z)
            norm = _normaliser(z, p)
            ce[0, rows] = norm - z.gather(1, wanted)[:, 0]
            for number, version in enumerate(versions, start=1):
                ours = self._logits("ours", version[rows])
                our_norm = _normaliser(ours, self._room("spare", len(z), z))
                ce[number, rows] = our_norm - ours.gather(1, wanted)[:, 0]
                away = torch.sub(z, ours, out=ours).mul_(p).sum(dim=1)
                kl[number, rows] = (away + our_norm - norm).clamp_min_(0)
        return ce, kl

    def _logits(self, name: str, rows: Tensor) -> Float[Tensor, "rows vocab"]:
        out = self._room(name, len(rows), rows, torch.float32)
        if self._unembed is None:
            return out.copy_(rows)
        if rows.dtype == torch.float32:
            return self._unembed(rows, out)
        return out.copy_(self._unembed(rows, self._room("stored", len(rows), rows)))

    def _room(self, name: str, rows: int, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        if name not in self._rooms:
            self._rooms[name] = like.new_empty(self._step, self._vocab, dtype=dtype or like.dtype)
        return self._rooms[name][:rows]


def _normaliser(z: Float[Tensor, "n vocab"], p: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
    """log Σ exp z; `p` becomes the softmax. (Its largest entry is 1 / Σ exp(z − max), and never vanishes.)"""
    torch.softmax(z, dim=1, out=p)
    return z.amax(dim=1) - p.amax(dim=1).log()
